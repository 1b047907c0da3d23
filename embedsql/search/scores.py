"""The score of a row that both lanes tell of.

Reciprocal rank fusion: Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms
Condorcet and individual Rank Learning Methods" (2009). Ranks count from 1. Convex combination:
Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval" (2023).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import CTE, Double, Integer, Text, case, cast, column, func, literal, select, table
from sqlalchemy.sql import ColumnElement

from embedsql.naming import SCHEMA
from embedsql.search.bound import BoundQuery
from embedsql.search.target import Target

# A similarity of more than two deviations above chance is hardly chance: what is above that counts
# by its square, too, so that words do not outvote a dense lane that is sure of a row.
STANDING_OUT, BONUS = 2.0, 0.25

# of two chunks taken at random, where an index has not been calibrated yet
MEAN, DEVIATION = 0.1, 0.1

# Words count more where meaning and words agree less than they do with a model that knows the
# language: (AGREEING / agreement) ** AGREEMENT_POWER times, at most MOST_WEIGHT times.
AGREEING, AGREEMENT_POWER, MOST_WEIGHT = 0.6, 12, 16.0

_registry = table(
    "semantic_index",
    column("name", Text),
    column("generation", Integer),
    column("state", Text),
    column("similarity_mean", Double),
    column("similarity_deviation", Double),
    column("agreement", Double),
    schema=SCHEMA,
)


class Scale(NamedTuple):
    """What a similarity is compared with: expressions on a CTE of one line.

    Attributes:
        mean: Of the similarity of two chunks taken at random.
        deviation: Its standard deviation.
        factor: By how much words count more, since the model knows little.
    """

    mean: ColumnElement[Any]
    deviation: ColumnElement[Any]
    factor: ColumnElement[Any]


def support(
    scale: Scale | None, question: CTE | None, similarity: Any, bm25: Any
) -> ColumnElement[Any]:
    """How much speaks for a row at all, whatever the others are: from 1 up, more than chance.

    By meaning, half the deviations by which it stands above two chunks taken at random; by words,
    its BM25 score as a share of that of a chunk with every word. The larger of the two.
    """
    found: list[ColumnElement[Any]] = []
    if scale is not None:
        found.append((similarity - scale.mean) / scale.deviation / STANDING_OUT)
    if question is not None:
        demand = select(func.nullif(question.c.demand, 0.0)).scalar_subquery()
        found.append(bm25 / demand)
    return cast(func.greatest(*found), Double)


def lane_shares(
    query: BoundQuery, scale: Scale, rows: CTE
) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """What each lane, dense and lexical, adds to the score of each of ``rows``.

    The columns of ``rows`` are those of both lanes. The score is the sum; larger is better.
    """
    tuning = query.tuning
    dense: ColumnElement[Any] = cast(tuning.dense_weight, Double)
    lexical: ColumnElement[Any] = cast(tuning.lexical_share, Double)
    if tuning.fusion == "rrf":
        dense_part = _reciprocal(rows.c.dense_rank, tuning.rrf_k)
        lexical_part = _reciprocal(rows.c.lexical_rank, tuning.rrf_k)
    elif tuning.fusion == "convex":
        dense_part, lexical_part = _stretched(rows.c.similarity), _stretched(rows.c.bm25)
    else:
        if tuning.lexical_weight is None:
            lexical = lexical * scale.factor
        apart = (rows.c.similarity - scale.mean) / scale.deviation
        known = apart + BONUS * func.power(func.greatest(apart - STANDING_OUT, 0.0), 2)
        # a row that is not embedded yet gets the others' average, and one whose vector is of an
        # earlier text no less than that
        usual = func.avg(known).over()
        least = case((rows.c.fresh.is_not(None), usual))
        dense_part = func.coalesce(func.greatest(known, least), usual, 0.0)
        lexical_part = rows.c.bm25 / (rows.c.bm25 + cast(tuning.saturation, Double))
    return dense * dense_part, lexical * lexical_part


def _reciprocal(rank: ColumnElement[Any], constant: int) -> ColumnElement[Any]:
    return func.coalesce(1.0 / cast(constant + rank, Double), 0.0)


def _stretched(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """Over the rows found: 0 the least, 1 the most."""
    least, most = func.min(value).over(), func.max(value).over()
    return func.coalesce((value - least) / func.nullif(most - least, 0.0), 0.0)


def calibration(target: Target, name: str = "calibration") -> Scale:
    """What was sampled of an index; see ``embedsql.calibration``."""
    read = _registry.c.state == literal("serving", Text)
    if target.generation is not None:
        read = _registry.c.generation == target.generation
    agreement = func.greatest(func.coalesce(_registry.c.agreement, 1.0), 0.1)
    lacking = cast(AGREEING, Double) / agreement
    known = select(
        func.coalesce(_registry.c.similarity_mean, MEAN).label("mean"),
        func.coalesce(func.nullif(_registry.c.similarity_deviation, 0.0), DEVIATION).label("dev"),
        func.least(func.greatest(func.power(lacking, AGREEMENT_POWER), 1.0), MOST_WEIGHT).label(
            "factor"
        ),
    ).where(_registry.c.name == literal(target.index, Text), read)
    scale = known.cte(name)
    return Scale(*(select(column).scalar_subquery() for column in scale.c))
