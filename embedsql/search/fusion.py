"""Lanes to one ranking."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CTE, Float, Integer, Text, and_, cast, func, null, select, true
from sqlalchemy.sql import ColumnElement

from embedsql.search.bound import BoundQuery
from embedsql.search.dense import dense_lane
from embedsql.search.distance import distance, similarity
from embedsql.search.lexical import lexical_lane, question_of
from embedsql.search.nearest_terms import score_of
from embedsql.search.scores import calibration, lane_shares, support
from embedsql.search.target import Target


def ranked_rows(target: Target, query: BoundQuery, *, shares: bool = False) -> CTE:
    """The lanes' rows with one score. What a lane does not know of a row is null.

    Columns: the key, ``chunk_seq``, ``score``, ``dense_rank``, ``similarity``, ``lexical_rank``,
    ``bm25``, ``support``, ``strategy``, ``fresh`` (the text of a row that waits to be embedded,
    where the lexical lane found it); with ``shares`` of a hybrid search also ``dense_share`` and
    ``lexical_share``, whose sum is the score.
    """
    if query.mode == "dense":
        return _dense_only(target, query, dense_lane(target, query))
    question = question_of(target, query)
    lexical = lexical_lane(target, query, question)
    if query.mode == "lexical":
        return _lexical_only(target, query, question, lexical)
    found = _both_lanes(target, query, lexical)
    return _fused(target, query, question, found, shares=shares)


def _dense_only(target: Target, query: BoundQuery, dense: CTE) -> CTE:
    near = similarity(target.vectors, dense.c.distance)
    scale = calibration(target, query.named("calibration"))
    return select(
        *target.key_of(dense),
        dense.c.chunk_seq,
        near.label("score"),
        dense.c.rank.label("dense_rank"),
        near.label("similarity"),
        cast(null(), Integer).label("lexical_rank"),
        cast(null(), Float).label("bm25"),
        support(scale, None, near, None).label("support"),
        dense.c.strategy,
        cast(null(), Text).label("fresh"),
    ).cte(query.named("ranked"))


def _lexical_only(target: Target, query: BoundQuery, question: CTE, lexical: CTE) -> CTE:
    return select(
        *target.key_of(lexical),
        lexical.c.chunk_seq,
        lexical.c.score,
        cast(null(), Integer).label("dense_rank"),
        cast(null(), Float).label("similarity"),
        lexical.c.rank.label("lexical_rank"),
        lexical.c.score.label("bm25"),
        support(None, question, None, lexical.c.score).label("support"),
        cast(null(), Text).label("strategy"),
        lexical.c.fresh,
    ).cte(query.named("ranked"))


def _both_lanes(target: Target, query: BoundQuery, lexical: CTE) -> CTE:
    """Every row that a lane found, with what each lane knows of it."""
    dense = dense_lane(target, query)
    pairs = list(zip(target.key_of(dense), target.key_of(lexical), strict=True))
    return (
        select(
            *(
                func.coalesce(left, right).label(name)
                for name, (left, right) in zip(target.key_names, pairs, strict=True)
            ),
            func.coalesce(dense.c.chunk_seq, lexical.c.chunk_seq).label("chunk_seq"),
            dense.c.rank.label("dense_rank"),
            similarity(target.vectors, dense.c.distance).label("similarity"),
            lexical.c.rank.label("lexical_rank"),
            lexical.c.score.label("bm25"),
            # the lane's strategy holds for rows that only the other lane found, too
            select(func.max(dense.c.strategy)).scalar_subquery().label("strategy"),
            lexical.c.fresh,
        )
        .select_from(dense)
        .join(lexical, and_(*(left == right for left, right in pairs)), full=True)
        .cte(query.named("found"))
    )


def _fused(target: Target, query: BoundQuery, question: CTE, found: CTE, *, shares: bool) -> CTE:
    known = _completed(target, query, question, found)
    scale = calibration(target, query.named("calibration"))
    dense, lexical = lane_shares(query, scale, known)
    columns = [column for column in known.c if column.name not in ("strategy", "fresh")]
    if shares:
        columns += [dense.label("dense_share"), lexical.label("lexical_share")]
    score = (dense + lexical).label("score")
    backed = support(scale, question, known.c.similarity, known.c.bm25).label("support")
    return select(*columns, score, backed, known.c.strategy, known.c.fresh).cte(
        query.named("ranked")
    )


def _completed(target: Target, query: BoundQuery, question: CTE, found: CTE) -> CTE:
    """With the score of the lane that did not find a row: both columns sit in its chunks."""
    chunk = target.chunk
    pairs = zip(target.key_of(chunk), target.key_of(found), strict=True)
    best: list[ColumnElement[Any]] = [
        func.max(similarity(target.vectors, distance(target, query))).label("similarity"),
        func.max(score_of(chunk, question)).label("bm25"),
    ]
    lacking = found.c.dense_rank.is_(None) | found.c.lexical_rank.is_(None)
    other = (
        select(*best)
        .where(*(left == right for left, right in pairs), lacking)
        .correlate(found)
        .lateral("other")
    )
    kept = [column for column in found.c if column.name not in ("similarity", "bm25")]
    return (
        select(
            *kept,
            func.coalesce(found.c.similarity, other.c.similarity).label("similarity"),
            func.coalesce(found.c.bm25, other.c.bm25, 0.0).label("bm25"),
        )
        .select_from(found)
        .join(other, true())
        .cte(query.named("scored_row"))
    )
