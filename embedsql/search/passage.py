"""The passage of a hit: a snippet, highlighted, or with its neighbours."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Text, case, cast, func, literal, select
from sqlalchemy.dialects.postgresql import REGCONFIG, aggregate_order_by
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.selectable import FromClause

from embedsql.search.bound import BoundQuery
from embedsql.search.target import Target

SNIPPET_CHARACTERS = 240


def snippet(target: Target, query: BoundQuery, rows: FromClause) -> ColumnElement[Any]:
    """The beginning of a hit's chunk."""
    return func.left(_chunk(target, query, rows), SNIPPET_CHARACTERS).label("snippet")


def highlighted(target: Target, query: BoundQuery, rows: FromClause) -> ColumnElement[Any]:
    """The chunk's best fragments as HTML; see ``embedsql.highlight``."""
    plain = cast(literal("simple", Text), REGCONFIG)
    configuration = plain if target.lexical is None else target.configuration()
    marked = func.embedsql.highlight(configuration, _chunk(target, query, rows), query.text)
    return marked.label("highlight")


def passage(target: Target, query: BoundQuery, rows: FromClause) -> ColumnElement[Any]:
    """The chunk with its neighbours, as they stand in the text: what they share comes once."""
    near = target.chunk.alias("near_chunk")
    reach = query.neighbours or 0
    end = near.c.start_offset + func.length(near.c.chunk)
    before = func.lag(end).over(order_by=near.c.chunk_seq)
    pairs = zip(target.key_of(near), target.key_of(rows), strict=True)
    parts = (
        select(
            near.c.chunk_seq,
            func.substr(
                near.c.chunk, func.greatest(func.coalesce(before - near.c.start_offset, 0), 0) + 1
            ).label("part"),
            func.coalesce(near.c.start_offset > before, False).label("apart"),
        )
        .where(
            near.c.chunk_seq.between(rows.c.chunk_seq - reach, rows.c.chunk_seq + reach),
            *(left == right for left, right in pairs),
        )
        .correlate(rows)
        .subquery("parts")
    )
    spaced = case((parts.c.apart, " "), else_="") + parts.c.part
    joined = func.string_agg(spaced, aggregate_order_by(literal("", Text), parts.c.chunk_seq))
    stored = select(joined).scalar_subquery()
    return (func.coalesce(rows.c.fresh, stored) if query.reads_pending else stored).label("passage")


def _chunk(target: Target, query: BoundQuery, rows: FromClause) -> ColumnElement[Any]:
    """A hit's chunk; of a row that waits to be embedded, its text.

    A subquery, not a join: PostgreSQL reads the chunks of the rows that are shown, after the LIMIT.
    """
    chunk = target.chunk.alias("hit_chunk")
    pairs = zip(target.key_of(chunk), target.key_of(rows), strict=True)
    stored = (
        select(chunk.c.chunk)
        .where(*(left == right for left, right in pairs), chunk.c.chunk_seq == rows.c.chunk_seq)
        .correlate(rows)
        .scalar_subquery()
    )
    return func.coalesce(rows.c.fresh, stored) if query.reads_pending else stored
