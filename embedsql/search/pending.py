"""Rows that wait to be embedded, as they are now: what was just written is found by its words.

The index's function reads a bounded part of them, the last to change; see ``sqlsearch.pending``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CTE, Text, column, func, not_, select, tuple_
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import FromClause
from sqlalchemy.sql.visitors import InternalTraversal

from embedsql.naming import SCHEMA, ObjectNames
from embedsql.search.bound import BoundQuery, Expression
from embedsql.search.target import Target


def pending_rows(target: Target, query: BoundQuery) -> CTE:
    """Those that pass the caller's condition: the key, ``chunk``, ``lexemes`` and ``terms``."""
    kinds = (column.type for column in target.source.key)
    key = [column(own, kind) for own, kind in zip(target.key_names, kinds, strict=True)]
    terms = column("terms", target.chunk.c.terms.type)
    rows = _Pending(target.index).table_valued(
        *key, column("chunk", Text), column("lexemes", TSVECTOR), terms, name="pending_row"
    )
    return (
        select(*rows.c)
        .select_from(target.joined(query))
        .join(rows, target.is_row_of(rows))
        .where(*target.conditions(query))
        .cte(query.named("pending"))
        .prefix_with("MATERIALIZED")
    )


def settled(target: Target, chunks: FromClause, pending: CTE | None) -> Sequence[Expression]:
    """Whether a chunk is of a row that waits for nothing: ``NOT IN``, which stays a filter."""
    if pending is None:
        return ()
    key, waiting = target.key_of(chunks), target.key_of(pending)
    row = key[0] if len(key) == 1 else tuple_(*key)
    return (row.not_in(select(*waiting)),)


def asked_of(target: Target, query: BoundQuery, pending: CTE) -> Sequence[Expression]:
    """Whether a row has what the query's text requires and nothing that it excludes."""
    if not query.has_operators:
        return ()
    asked = target.asked(query)
    required, excluded = (
        select(words).scalar_subquery() for words in (asked.c.required, asked.c.excluded)
    )
    lexemes = pending.c.lexemes
    return (
        func.coalesce(lexemes.bool_op("@@")(required), True),
        not_(func.coalesce(lexemes.bool_op("@@")(excluded), False)),
    )


class _Pending(FunctionElement[Any]):
    """A call of the index's function: SQLAlchemy's own cannot be named just anything."""

    name = "pending"
    inherit_cache = True
    _traverse_internals = [  # noqa: RUF012
        *FunctionElement._traverse_internals,
        ("index", InternalTraversal.dp_string),
    ]

    def __init__(self, index: str) -> None:
        super().__init__()
        self.index = index


@compiles(_Pending)
def _compile(element: _Pending, compiler: SQLCompiler, **options: Any) -> str:
    quote = compiler.preparer.quote
    return f"{quote(SCHEMA)}.{quote(ObjectNames(element.index).pending)}()"
