"""The search statement as the body of a function: what a caller gives stands in its place.

It is compiled from the same ``search_statement`` that Python runs, so both rank alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Integer, Text, func, literal_column
from sqlalchemy.dialects.postgresql.base import PGCompiler, PGDialect

from embedsql import sqlfile
from embedsql.search import SearchTuning, search_statement
from embedsql.search.bound import BoundQuery
from embedsql.search.hit import HitBundle
from embedsql.search.query import Mode
from embedsql.search.target import registered_target
from embedsql.spec import IndexSpec

# the function's arguments and variables
TEXT, LIMIT, VECTOR = "$1", "$2", "embedsql_vector"
TERMS, SPACE = "embedsql_terms", "embedsql_space"


@dataclass(frozen=True)
class SearchTemplate:
    """One mode's statement.

    Attributes:
        sql: Its text, with the function's arguments and variables in it.
        hit: The names of its columns behind the source's key.
    """

    sql: str
    hit: tuple[str, ...]


@lru_cache(maxsize=32)  # each takes some 30 ms to compile, and comparing a schema needs all
def search_template(
    spec: IndexSpec, mode: Mode, tuning: SearchTuning, *, operators: bool = False
) -> SearchTemplate:
    """The statement that searches ``spec`` in one mode.

    Args:
        spec: The declaration.
        mode: Which lanes.
        tuning: Query-time settings.
        operators: Whether it is for texts that may hold quotes, plus or minus signs.
    """
    limit = literal_column(LIMIT, Integer)
    query = BoundQuery(
        mode=mode,
        tuning=tuning,
        text=literal_column(TEXT, Text),
        vector=literal_column(VECTOR, Text),
        terms=literal_column(TERMS, Text) if spec.sparse_model is not None else None,
        dimensions=spec.dimensions,
        space=literal_column(SPACE, Text),
        limit=limit,
        candidates=func.greatest(tuning.candidates, limit, type_=Integer),
        needed=limit,
        shown=limit,
        has_operators=operators and spec.lexical is not None,
    )
    statement = search_statement(registered_target(spec), query)
    compiled = statement.compile(dialect=_Dialect(), compile_kwargs={"literal_binds": True})
    hit = next(
        found["expr"]
        for found in statement.column_descriptions
        if isinstance(found["expr"], HitBundle)
    )
    return SearchTemplate(str(compiled), tuple(hit.c.keys()))


class _Compiler(PGCompiler):
    """Writes values into the statement."""

    def render_literal_value(self, value: Any, type_: Any) -> str:
        if isinstance(value, str):
            return sqlfile.text(sqlfile.literal(value))
        plain: str = super().render_literal_value(value, type_)  # type: ignore[no-untyped-call]
        return plain


class _Dialect(PGDialect):
    """PostgreSQL in plain text: no driver's percent signs or casts."""

    statement_compiler = _Compiler
    supports_statement_cache = False

    def __init__(self) -> None:
        super().__init__(paramstyle="named")  # type: ignore[no-untyped-call]
