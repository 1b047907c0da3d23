"""Lanes to one ranking.

Reciprocal rank fusion: Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms
Condorcet and individual Rank Learning Methods" (2009). Ranks count from 1.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import CTE, Double, Float, Integer, Text, and_, cast, func, null, select
from sqlalchemy.sql import ColumnElement

from embedsql.search.dense import dense_lane
from embedsql.search.distance import similarity
from embedsql.search.lexical import lexical_lane
from embedsql.search.query import Query
from embedsql.search.target import Target


def ranked_rows(target: Target, query: Query) -> CTE:
    """The lanes' rows with one score. What a lane does not know of a row is null.

    Columns: the key, ``chunk_seq``, ``score``, ``dense_rank``, ``similarity``, ``lexical_rank``,
    ``lexical_score``, ``strategy``.
    """
    if query.mode == "dense":
        return _dense_only(target, dense_lane(target, query))
    if query.mode == "lexical":
        return _lexical_only(target, lexical_lane(target, query))
    return _reciprocal_rank_fusion(
        target, query, dense_lane(target, query), lexical_lane(target, query)
    )


def _dense_only(target: Target, dense: CTE) -> CTE:
    near = similarity(target.vectors, dense.c.distance)
    return select(
        *target.key_of(dense),
        dense.c.chunk_seq,
        near.label("score"),
        dense.c.rank.label("dense_rank"),
        near.label("similarity"),
        cast(null(), Integer).label("lexical_rank"),
        cast(null(), Float).label("lexical_score"),
        dense.c.strategy,
    ).cte("ranked")


def _lexical_only(target: Target, lexical: CTE) -> CTE:
    return select(
        *target.key_of(lexical),
        lexical.c.chunk_seq,
        cast(lexical.c.score, Double).label("score"),
        cast(null(), Integer).label("dense_rank"),
        cast(null(), Float).label("similarity"),
        lexical.c.rank.label("lexical_rank"),
        lexical.c.score.label("lexical_score"),
        cast(null(), Text).label("strategy"),
    ).cte("ranked")


def _reciprocal_rank_fusion(target: Target, query: Query, dense: CTE, lexical: CTE) -> CTE:
    pairs = list(zip(target.key_of(dense), target.key_of(lexical), strict=True))
    tuning = query.tuning
    return (
        select(
            *(
                func.coalesce(left, right).label(name)
                for name, (left, right) in zip(target.key_names, pairs, strict=True)
            ),
            func.coalesce(dense.c.chunk_seq, lexical.c.chunk_seq).label("chunk_seq"),
            (
                _share(dense.c.rank, tuning.dense_weight, tuning.rrf_k)
                + _share(lexical.c.rank, tuning.lexical_weight, tuning.rrf_k)
            ).label("score"),
            dense.c.rank.label("dense_rank"),
            similarity(target.vectors, dense.c.distance).label("similarity"),
            lexical.c.rank.label("lexical_rank"),
            lexical.c.score.label("lexical_score"),
            # the lane's strategy holds for rows that only the other lane found, too
            select(func.max(dense.c.strategy)).scalar_subquery().label("strategy"),
        )
        .select_from(dense)
        .join(lexical, and_(*(left == right for left, right in pairs)), full=True)
        .cte("ranked")
    )


def _share(rank: ColumnElement[Any], weight: float, constant: int) -> ColumnElement[Any]:
    return func.coalesce(cast(weight, Double) / cast(constant + rank, Double), 0.0)
