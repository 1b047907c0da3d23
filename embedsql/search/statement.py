"""The whole search, as one ``Select`` that the caller may extend, join and run."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, Table, func, select
from sqlalchemy.sql import ColumnElement, SQLColumnExpression
from sqlalchemy.sql.selectable import FromClause

from embedsql.search.bound import BoundQuery, bound, expression
from embedsql.search.hit import Hit, HitBundle
from embedsql.search.passage import highlighted, passage, snippet
from embedsql.search.query import Query
from embedsql.search.ranking import ranking
from embedsql.search.target import Target


def search_statement(target: Target, query: Query | BoundQuery) -> Select[Any, Hit]:
    """Rows of the source with their ``Hit``, best first, ties by key.

    Returns:
        Lines of ``(entity, hit)`` for a mapped class, of ``(*columns, hit)`` for a ``Table``.
    """
    query = bound(target, query) if isinstance(query, Query) else query
    rows, best_first = ranking(target, query)
    source = target.source
    entity = source.table.columns if isinstance(source.entity, Table) else [source.entity]
    hit = HitBundle(*_hit_columns(target, query, rows))
    statement = (
        select(*entity, hit)
        .select_from(source.entity)
        .join(rows, target.is_row_of(rows))
        .order_by(*best_first, *source.key)
        .limit(query.limit)
    )
    return statement if query.offset is None else statement.offset(query.offset)


def facet_statement(
    target: Target, query: Query, column: SQLColumnExpression[Any]
) -> Select[Any, int]:
    """How often each value of a column of the source comes among the candidates; most first.

    Returns:
        Lines of ``(value, count)``.
    """
    rows, _ = ranking(target, bound(target, query))
    count = func.count().label("count")
    columns: list[Any] = [expression(column).label("value"), count]
    statement: Select[Any, int] = (
        select(*columns)
        .select_from(target.source.entity)
        .join(rows, target.is_row_of(rows))
        .group_by(column)
        .order_by(count.desc(), column)
    )
    return statement


def _hit_columns(target: Target, query: BoundQuery, rows: FromClause) -> list[ColumnElement[Any]]:
    columns: list[ColumnElement[Any]] = [
        rows.c.score,
        rows.c.dense_rank,
        rows.c.similarity,
        rows.c.lexical_rank,
        rows.c.bm25,
        rows.c.support,
        rows.c.chunk_seq,
        snippet(target, query, rows),
        rows.c.strategy,
        rows.c.fresh.is_not(None).label("pending"),
    ]
    if query.highlight and query.text is not None:
        columns.append(highlighted(target, query, rows))
    if query.neighbours is not None:
        columns.append(passage(target, query, rows))
    return columns
