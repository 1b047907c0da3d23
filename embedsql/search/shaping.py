"""What becomes of the ranking before it is shown: boosts, thresholds, groups, pages.

All of it looks at the same window, the candidates of the lanes, so that pages fit together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypedDict

from sqlalchemy import Double, cast, extract, func, literal
from sqlalchemy.sql import ColumnElement, SQLColumnExpression, roles

from embedsql.errors import QueryError

MOST_NEIGHBOURS = 10


class ShapingOptions(TypedDict, total=False):
    """The fields of ``Shaping``, as keyword arguments of a search."""

    offset: int
    after: tuple[float, Any] | None
    min_similarity: float | None
    min_score: float | None
    min_support: float | None
    autocut: bool
    boosts: Sequence[SQLColumnExpression[Any]]
    group_by: SQLColumnExpression[Any] | None
    per_group: int
    diversity: float
    highlight: bool
    neighbours: int | None


@dataclass(frozen=True, kw_only=True)
class Shaping:
    """What becomes of a ranking before it is returned: pages, thresholds, groups, passages.

    Attributes:
        offset: Rows to skip at the top.
        after: Score and key (a tuple for several columns) of the last row of the previous page.
        min_similarity: Leave out rows below this similarity, which is the index's metric's.
        min_score: Leave out rows below this score, boosts included.
        min_support: Leave out rows below this support; at 1, those that chance alone would bring,
            so that a question without a good answer finds nothing. See ``Hit.support``.
        autocut: Whether to end the result at the widest gap between two rows' scores.
        boosts: SQL expressions on the source's columns, added to the score; see ``recency``.
        group_by: A column of the source: only the best rows of each value are returned.
        per_group: How many rows of each value. Defaults to 1.
        diversity: 0 to 1: how much a row counts less for resembling those above it, by maximal
            marginal relevance (Carbonell and Goldstein, 1998). Defaults to 0, not at all.
        highlight: Whether hits have a ``highlight``: the passage with the query's words between
            ``<mark>`` tags, everything else escaped for HTML.
        neighbours: Whether hits have a ``passage``: the whole chunk, with this many chunks before
            and after it, 0 to 10. ``None``: they have none.
    """

    offset: int = 0
    after: tuple[float, Any] | None = None
    min_similarity: float | None = None
    min_score: float | None = None
    min_support: float | None = None
    autocut: bool = False
    boosts: Sequence[SQLColumnExpression[Any]] = ()
    group_by: SQLColumnExpression[Any] | None = None
    per_group: int = 1
    diversity: float = 0.0
    highlight: bool = False
    neighbours: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.boosts, roles.SQLRole | str):
            raise QueryError("boosts takes a list of SQL expressions, also of one")
        if self.offset < 0:
            raise QueryError(f"the offset must be 0 or more, not {self.offset}")
        if self.after is not None and (self.offset or self.diversity or self.autocut):
            raise QueryError("after excludes offset, diversity and autocut: page by offset instead")
        if self.per_group < 1:
            raise QueryError("per_group must be 1 or more")
        if not 0 <= self.diversity <= 1:
            raise QueryError(f"diversity must be 0 to 1, not {self.diversity}")
        if self.neighbours is not None and not 0 <= self.neighbours <= MOST_NEIGHBOURS:
            raise QueryError(f"neighbours must be 0 to {MOST_NEIGHBOURS}")
        limits = (self.min_similarity, self.min_score, self.min_support)
        if not all(limit is None or math.isfinite(limit) for limit in limits):
            raise QueryError("thresholds must be numbers")

    @property
    def reorders(self) -> bool:
        """Whether rows further down may come up, so that all of the window is needed."""
        return bool(
            self.offset
            or self.after is not None
            or self.boosts
            or self.group_by is not None
            or self.diversity
        )


def recency(
    column: SQLColumnExpression[Any], *, half_life: timedelta, weight: float = 1.0
) -> ColumnElement[float]:
    """A boost of ``weight`` for what is of now, halved with each ``half_life`` of age.

    Args:
        column: A timestamp of the source; null gives no boost.
        half_life: The age at which the boost is half.
        weight: In units of the score, in which one deviation of the similarity counts 1.

    Raises:
        QueryError: The half-life is not positive.
    """
    if not isinstance(half_life, timedelta):
        raise QueryError(f"a half-life is a timedelta, timedelta(days=30) say, not {half_life!r}")
    seconds = half_life.total_seconds()
    if seconds <= 0:
        raise QueryError("the half-life must be longer than 0")
    age = func.greatest(extract("epoch", func.now() - column), 0)
    decayed = func.power(0.5, cast(age, Double) / literal(seconds, Double))
    return func.coalesce(literal(weight, Double) * decayed, 0.0)
