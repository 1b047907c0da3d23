"""The window of candidates, shaped: what is shown, in which order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CTE, Double, Integer, and_, cast, func, literal, or_, select, tuple_
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql import ColumnElement

from embedsql.search.bound import BoundQuery
from embedsql.search.target import Target


def shaped_rows(target: Target, query: BoundQuery, ranked: CTE) -> tuple[CTE, list[Any]]:
    """The ranked rows as they are shown, and by what they are ordered.

    Returns:
        A CTE with the columns of ``ranked``, and expressions to order by, the best first.
    """
    rows = _boosted(target, query, ranked) if query.boosts else ranked
    rows = _above(target, query, rows)
    if query.group_by is not None:
        rows = _grouped(target, query, rows)
    if query.autocut:
        rows = _cut(target, query, rows)
    if query.diversity:
        rows = _diverse(target, query, rows)
        return rows, [rows.c.step]
    return rows, [rows.c.score.desc()]


def _boosted(target: Target, query: BoundQuery, rows: CTE) -> CTE:
    score: ColumnElement[Any] = rows.c.score
    for boost in query.boosts:
        score = score + func.coalesce(cast(boost, Double), 0.0)
    others = [column for column in rows.c if column.name != "score"]
    return (
        select(*others, score.label("score"))
        .select_from(target.source.entity)
        .join(rows, target.is_row_of(rows))
        .cte(query.named("boosted"))
    )


def _above(target: Target, query: BoundQuery, rows: CTE) -> CTE:
    limits = []
    if query.min_similarity is not None:
        limits.append(rows.c.similarity >= query.min_similarity)
    if query.min_score is not None:
        limits.append(rows.c.score >= query.min_score)
    if query.min_support is not None:
        limits.append(rows.c.support >= query.min_support)
    if query.after:
        limits.append(_is_after(target, query.after, rows))
    return select(*rows.c).where(*limits).cte(query.named("above")) if limits else rows


def _is_after(target: Target, after: Sequence[Any], rows: CTE) -> ColumnElement[bool]:
    reached, *key = after
    own = target.key_of(rows)
    behind = own[0] > key[0] if len(own) == 1 else tuple_(*own) > tuple_(*key)
    return or_(rows.c.score < reached, and_(rows.c.score == reached, behind))


def _grouped(target: Target, query: BoundQuery, rows: CTE) -> CTE:
    order = [rows.c.score.desc(), *target.key_of(rows)]
    place = func.row_number().over(partition_by=query.group_by, order_by=order)
    placed = (
        select(*rows.c, place.label("place"))
        .select_from(target.source.entity)
        .join(rows, target.is_row_of(rows))
        .subquery("placed_in_group")
    )
    kept = [column for column in placed.c if column.name != "place"]
    return select(*kept).where(placed.c.place <= query.per_group).cte(query.named("of_group"))


def _cut(target: Target, query: BoundQuery, rows: CTE) -> CTE:
    """The rows above the widest gap among those that would be shown."""
    order = [rows.c.score.desc(), *target.key_of(rows)]
    gap = rows.c.score - func.lead(rows.c.score).over(order_by=order)
    measured = (
        select(*rows.c, gap.label("gap"), func.row_number().over(order_by=order).label("place"))
        .order_by(*order)
        .limit(query.shown)
        .cte(query.named("measured"))
    )
    widest = (
        select(measured.c.place)
        .where(measured.c.gap > 0, measured.c.place < query.shown)
        .order_by(measured.c.gap.desc(), measured.c.place)
        .limit(1)
        .scalar_subquery()
    )
    kept = [measured.c[column.name] for column in rows.c]
    last = func.coalesce(widest, query.shown)
    return select(*kept).where(measured.c.place <= last).cte(query.named("before_gap"))


def _diverse(target: Target, query: BoundQuery, rows: CTE) -> CTE:
    """Maximal marginal relevance: one row after the other, each the best beside those chosen."""
    pool = _pool(target, query, rows)
    relevance = 1 - query.diversity
    first = select(
        literal(1).label("step"),
        cast(literal(1), Integer).label("place"),
        cast(literal([1], ARRAY(Integer)), ARRAY(Integer)).label("chosen"),
    )
    picked = first.where(select(pool.c.place).exists()).cte(query.named("picked"), recursive=True)
    other = pool.alias("other")
    resembles = (
        select(func.max(1 - other.c.embedding.op("<=>", return_type=Double())(pool.c.embedding)))
        .where(other.c.place == func.any(picked.c.chosen))
        .correlate(pool, picked)
        .scalar_subquery()
    )
    gain = relevance * pool.c.relevance - query.diversity * func.coalesce(resembles, 0.0)
    best = (
        select(pool.c.place)
        .where(pool.c.place != func.all(picked.c.chosen))
        .order_by(gain.desc(), pool.c.place)
        .limit(1)
        .correlate(picked)
        .lateral("best")
    )
    picked = picked.union_all(
        select(picked.c.step + 1, best.c.place, func.array_append(picked.c.chosen, best.c.place))
        .select_from(picked)
        .join(best, literal(True))
        .where(picked.c.step < query.shown)
    )
    kept = [pool.c[column.name] for column in rows.c]
    return (
        select(*kept, picked.c.step)
        .join(picked, picked.c.place == pool.c.place)
        .cte(query.named("diverse"))
    )


def _pool(target: Target, query: BoundQuery, rows: CTE) -> CTE:
    """The rows with their chunks' vectors, and their scores stretched to 0 to 1."""
    chunk = target.chunk
    pairs = zip(target.key_of(chunk), target.key_of(rows), strict=True)
    same = and_(chunk.c.chunk_seq == rows.c.chunk_seq, *(left == right for left, right in pairs))
    least, most = func.min(rows.c.score).over(), func.max(rows.c.score).over()
    order = [rows.c.score.desc(), *target.key_of(rows)]
    return (
        select(
            *rows.c,
            chunk.c.embedding,
            func.coalesce((rows.c.score - least) / func.nullif(most - least, 0.0), 1.0).label(
                "relevance"
            ),
            cast(func.row_number().over(order_by=order), Integer).label("place"),
        )
        .join(chunk, same, isouter=query.reads_pending)
        .cte(query.named("pool"))
    )
