"""The ranked rows of a search, as a FROM element that is built when it is compiled.

Building the lanes takes some hundred times as long as sending them. SQLAlchemy keeps compiled
statements by their structure, so a search whose structure was compiled before only brings its
values.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from sqlalchemy import CTE, ColumnClause, Double, Integer, Text, column
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.sql.visitors import InternalTraversal

from embedsql.search.bound import BoundQuery
from embedsql.search.fusion import ranked_rows
from embedsql.search.target import Target
from embedsql.search.window import shaped_rows

_COLUMNS = {
    "chunk_seq": Integer,
    "score": Double,
    "dense_rank": Integer,
    "similarity": Double,
    "lexical_rank": Integer,
    "bm25": Double,
    "support": Double,
    "strategy": Text,
    "fresh": Text,
}


def ranking(target: Target, query: BoundQuery) -> tuple[TableValuedAlias, list[ColumnElement[Any]]]:
    """The ranked rows, shaped, to select from, and by what they are ordered, the best first."""
    columns = _columns(target, in_steps=bool(query.diversity))
    rows = _Ranking(target, query).table_valued(*columns, name="hit")
    return rows, [rows.c.step] if query.diversity else [rows.c.score.desc()]


@lru_cache(maxsize=256)
def _columns(target: Target, *, in_steps: bool) -> Sequence[ColumnClause[Any]]:
    key = [column(name, target.chunk.c[name].type) for name in target.key_names]
    known: list[ColumnClause[Any]] = [column(name, kind) for name, kind in _COLUMNS.items()]
    return [*key, *known, *([column("step", Integer)] if in_steps else [])]


class _Ranking(FunctionElement[Any]):
    """Its clauses are the query's expressions; all else is in ``structure``."""

    name = "ranking"
    inherit_cache = True
    _traverse_internals = [  # noqa: RUF012
        *FunctionElement._traverse_internals,
        ("target", InternalTraversal.dp_plain_obj),
        ("structure", InternalTraversal.dp_plain_obj),
    ]

    def __init__(self, target: Target, query: BoundQuery) -> None:
        super().__init__(*query.expressions)
        self.target = target
        self.structure: Hashable = query.structure
        self._query = query

    def built(self, place: int) -> CTE:
        """The lanes, made of the clauses as they are now: SQLAlchemy may have replaced them."""
        query = replace(self._query.with_expressions(list(self.clauses)), place=place)
        if query.where is not None:
            query = replace(query, where=_Condition(query.where))
        rows, _ = shaped_rows(self.target, query, ranked_rows(self.target, query))
        return rows


class _Condition(Grouping[Any]):
    """A condition of the caller's, inside of what may be a LATERAL.

    There SQLAlchemy takes the joins within a subquery (``Article.tags.any()``) for those of the
    LATERAL, and warns of a cartesian product that is none.
    """

    inherit_cache = True


@compiles(_Condition)
def _compile_condition(element: _Condition, compiler: SQLCompiler, **options: Any) -> str:
    options.pop("lateral_from_linter", None)
    return f"({compiler.process(element.element, **options)})"


@compiles(_Ranking)
def _compile(element: _Ranking, compiler: SQLCompiler, **options: Any) -> str:
    # for this statement: a ranking that it reads twice is one CTE, two rankings are two
    built: dict[int, tuple[_Ranking, CTE]] = vars(compiler).setdefault("_embedsql_rankings", {})
    if id(element) not in built:
        built[id(element)] = element, element.built(len(built) + 1)
    options["asfrom"] = True
    return compiler.process(built[id(element)][1], **options)
