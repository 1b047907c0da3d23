"""A query as SQL has it: its values are expressions, bound parameters mostly.

What is left decides the statement's structure, so that all searches of one structure are one
statement, built and compiled once.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import Double, Integer, Text, and_, literal
from sqlalchemy.sql import ColumnElement, SQLColumnExpression, coercions, roles

from embedsql.errors import QueryError
from embedsql.search.query import Mode, Query, SearchTuning

if TYPE_CHECKING:
    from embedsql.search.target import Target

Expression = ColumnElement[Any]


@dataclass(frozen=True, kw_only=True)
class BoundQuery:
    """One search; see ``Query`` and ``Shaping`` for what each field means.

    Attributes:
        vector: As text that pgvector reads, or of its type.
        terms: Of a sparse encoder, as text that pgvector reads, or of its type.
        dimensions: Length of the vector, where a form needs to know it.
        joined: The tables of ``joins``, and ``join_on`` their conditions.
        after: The score and the key of the last row of the page before.
        pinned: Whether a generation is read that may not be the one that serves.
        place: Which of the searches in one statement it is, from 1.
    """

    mode: Mode
    limit: Expression
    candidates: Expression
    needed: Expression
    shown: Expression
    tuning: SearchTuning
    text: Expression | None = None
    vector: Expression | None = None
    terms: Expression | None = None
    dimensions: int | None = None
    space: Expression | str | None = None
    has_operators: bool = False
    where: Expression | None = None
    joined: tuple[Any, ...] = ()
    join_on: tuple[Expression, ...] = ()
    offset: Expression | None = None
    after: tuple[Expression, ...] = ()
    min_similarity: Expression | None = None
    min_score: Expression | None = None
    min_support: Expression | None = None
    autocut: bool = False
    boosts: tuple[Expression, ...] = ()
    group_by: Expression | None = None
    per_group: int = 1
    diversity: float = 0.0
    highlight: bool = False
    neighbours: int | None = None
    pinned: bool = False
    place: int = 1

    @property
    def reads_pending(self) -> bool:
        """Whether rows that wait to be embedded are looked through."""
        return self.mode != "dense" and self.tuning.pending and not self.pinned

    @property
    def uses_dense(self) -> bool:
        """Whether the dense lane takes part."""
        return self.mode != "lexical"

    def named(self, name: str) -> str:
        """The name of a CTE, no other search's in the same statement."""
        return name if self.place == 1 else f"{name}_{self.place}"

    @property
    def expressions(self) -> Sequence[Expression]:
        """All its expressions, field after field."""
        return [one for name in _names() for one in _expressions(getattr(self, name))]

    @property
    def structure(self) -> Hashable:
        """All that is no expression, and where one stands."""
        return tuple(_shape(getattr(self, name)) for name in _names())

    def with_expressions(self, expressions: Sequence[Expression]) -> BoundQuery:
        """The same structure with other expressions, as many, in the same order."""
        given = iter(expressions)
        return replace(self, **{name: _filled(getattr(self, name), given) for name in _names()})


def bound(target: Target, query: Query) -> BoundQuery:
    """A query whose values are bound parameters.

    Raises:
        QueryError: It does not fit the index.
    """
    if query.uses_lexical:
        target.require_lexical()
    shaping = query.shaping
    limit, candidates = literal(query.limit, Integer), literal(query.candidates, Integer)
    return BoundQuery(
        mode=query.mode,
        tuning=query.tuning,
        limit=limit,
        candidates=candidates,
        needed=candidates if shaping.reorders else limit,
        shown=literal(query.shown, Integer) if shaping.offset else limit,
        text=None if query.text is None else literal(query.text, Text),
        vector=_vector(query),
        terms=_terms(target, query),
        dimensions=query.dimensions if query.uses_dense and target.vectors.two_stage else None,
        space=query.space,
        has_operators=target.lexical is not None and query.has_operators,
        where=and_(*query.where) if query.where else None,
        joined=tuple(other for other, _ in query.joins),
        join_on=tuple(and_(condition) for _, condition in query.joins),
        offset=literal(shaping.offset, Integer) if shaping.offset else None,
        after=_after(target, query),
        min_similarity=_number(shaping.min_similarity),
        min_score=_number(shaping.min_score),
        min_support=_number(shaping.min_support),
        autocut=shaping.autocut,
        boosts=tuple(map(expression, shaping.boosts)),
        group_by=None if shaping.group_by is None else expression(shaping.group_by),
        per_group=shaping.per_group,
        diversity=shaping.diversity,
        highlight=shaping.highlight,
        neighbours=shaping.neighbours,
        pinned=target.generation is not None,
    )


def _vector(query: Query) -> Expression | None:
    if not query.uses_dense:
        return None
    given = query.vector
    return given if isinstance(given, ColumnElement) else literal(query.vector_text, Text)


def _terms(target: Target, query: Query) -> Expression | None:
    """What a sparse encoder made of the text, where the lexical lane of the index goes by that."""
    if not (target.learned and query.uses_lexical):
        return None
    given = query.terms
    if given is None:
        raise QueryError(
            f"the words of {target.index!r} are weighed by a sparse encoder: give terms=…, from "
            "embed_terms() for example, or search with mode='dense'"
        )
    return given if isinstance(given, ColumnElement) else literal(given, Text)


def _after(target: Target, query: Query) -> tuple[Expression, ...]:
    if query.shaping.after is None:
        return ()
    score, key = query.shaping.after
    values = target.checked_key(key, "after")
    return (literal(score, Double), *map(literal, values, (c.type for c in target.source.key)))


def expression(column: SQLColumnExpression[Any]) -> Expression:
    """A mapped attribute as the column that it stands for.

    Raises:
        QueryError: It is a text, which SQL would take for itself.
    """
    if isinstance(column, str):
        raise QueryError(f"{column!r} is a text: give the column itself, Article.{column} say")
    found: Expression = coercions.expect(roles.ExpressionElementRole, column)
    return found


def _number(value: float | None) -> Expression | None:
    return None if value is None else literal(value, Double)


def _names() -> Iterator[str]:
    return (one.name for one in fields(BoundQuery))


def _expressions(value: Any) -> Sequence[Expression]:
    several = value if isinstance(value, tuple) else (value,)
    return [one for one in several if isinstance(one, ColumnElement)]


def _shape(value: Any) -> Any:
    found = len(_expressions(value))
    return ("expressions", found) if found else value


def _filled(value: Any, given: Iterator[Expression]) -> Any:
    if isinstance(value, ColumnElement):
        return next(given)
    found = len(_expressions(value))
    return tuple(islice(given, found)) if found else value
