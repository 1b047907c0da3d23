"""The search statement as the body of a function: what a caller gives stands in its place.

It is compiled from the same ``search_statement`` that Python runs, so both rank alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Integer, func, literal_column
from sqlalchemy.dialects.postgresql.base import PGCompiler, PGDialect
from sqlalchemy.sql import ColumnElement

from embedsql import sqlfile
from embedsql.search import Query, search_statement
from embedsql.search.hit import HitBundle
from embedsql.search.query import Mode
from embedsql.search.target import registered_target
from embedsql.spec import IndexSpec

# private-use characters, so that no value of a statement is one of these by chance
TEXT, VECTOR, SPACE = "\ue000text", "\ue000vector", "\ue000space"
ARGUMENTS = {TEXT: "$1", VECTOR: "embedsql_vector", SPACE: "embedsql_space"}
LIMIT: ColumnElement[int] = literal_column("$2", Integer)


@dataclass(frozen=True)
class Template:
    """One mode's statement.

    Attributes:
        sql: Its text, with the function's arguments and variables in it.
        hit: The names of its columns behind the source's key.
    """

    sql: str
    hit: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class QueryTemplate(Query):
    """A query whose text, vector and limit the server will know; the server checks them, too.

    Attributes:
        has_operators: Whether the text may hold quotes, plus or minus signs.
    """

    has_operators: bool = False

    def __post_init__(self) -> None:
        """Nothing to check yet."""

    @property
    def candidates(self) -> Any:
        """Rows that each lane hands on, as an SQL expression."""
        return func.greatest(self.tuning.candidates, self.limit, type_=Integer)

    @property
    def vector_text(self) -> str:
        """What stands for the vector."""
        return VECTOR


def search_template(spec: IndexSpec, mode: Mode, *, operators: bool = False) -> Template:
    """The statement that searches ``spec`` in one mode.

    Args:
        spec: The declaration.
        mode: Which lanes.
        operators: Whether it is for texts that may hold quotes, plus or minus signs.
    """
    query = QueryTemplate(
        text=TEXT,
        vector=(0.0,) * spec.dimensions,
        space=SPACE,
        mode=mode,
        limit=cast("int", LIMIT),
        has_operators=operators,
    )
    statement = search_statement(registered_target(spec), query)
    compiled = statement.compile(dialect=_Dialect(), compile_kwargs={"literal_binds": True})
    hit = next(
        found["expr"]
        for found in statement.column_descriptions
        if isinstance(found["expr"], HitBundle)
    )
    return Template(str(compiled), tuple(hit.c.keys()))


class _Compiler(PGCompiler):
    """Writes values into the statement, and arguments where their stand-ins are."""

    def render_literal_value(self, value: Any, type_: Any) -> str:
        if not isinstance(value, str):
            plain: str = super().render_literal_value(value, type_)  # type: ignore[no-untyped-call]
            return plain
        return ARGUMENTS.get(value) or sqlfile.text(sqlfile.literal(value))


class _Dialect(PGDialect):
    """PostgreSQL in plain text: no driver's percent signs or casts."""

    statement_compiler = _Compiler
    supports_statement_cache = False

    def __init__(self) -> None:
        super().__init__(paramstyle="named")  # type: ignore[no-untyped-call]
