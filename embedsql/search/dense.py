"""The dense lane: the rows whose nearest chunk is nearest to the query's vector.

The approximate index is asked first. Where it comes back short (a filter or a policy keeps few
rows, dead tuples lie in the way), an exact branch of the same statement answers instead; it costs
little exactly then, since few rows match. So the lane never returns fewer rows than there are.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import CTE, Text, cast, func, literal, select, true, union_all
from sqlalchemy.sql import ColumnElement

from embedsql.search.bound import BoundQuery
from embedsql.search.collapse import best_chunk
from embedsql.search.distance import distance, index_distance, indexed_column
from embedsql.search.target import Target

LEAST_EF_SEARCH, MOST_EF_SEARCH = 40, 1000


def dense_lane(target: Target, query: BoundQuery) -> CTE:
    """Columns: the key, ``chunk_seq``, ``distance``, ``strategy``, ``rank`` from 1."""
    near = _near_rows(target, query)
    short = select(func.count()).select_from(near).scalar_subquery() < query.needed
    exact = _exact_rows(target, query, only_if=short)
    found = union_all(
        select(*near.c, literal("ann", Text).label("strategy")).where(~short),
        select(*exact.c, literal("exact", Text).label("strategy")),
    ).subquery("found")
    order = [found.c.distance, *target.key_of(found)]
    return (
        select(*found.c, func.row_number().over(order_by=order).label("rank"))
        .order_by(*order)
        .limit(query.candidates)
        .cte(query.named("dense"))
    )


def _near_rows(target: Target, query: BoundQuery) -> CTE:
    """The approximate index's answer, collapsed to rows."""
    wanted = query.candidates * (query.tuning.oversample or target.vectors.oversample)
    settings = _settings(target, query, wanted)
    near = (
        target.chunks_of_source(query, distance(target, query).label("distance"))
        # To read a column of the settings, PostgreSQL must run set_config() before the scan; as a
        # one-time filter it leaves the index scan as it is. Chunks without a vector are in no
        # index, but a sequential scan would meet them.
        .where(settings.c.ef_search.is_not(None), indexed_column(target).is_not(None))
        .order_by(index_distance(target, query))
        .limit(wanted)
        .lateral("near")
    )
    chunks = select(*near.c).select_from(settings).join(near, true()).subquery("near_chunk")
    return best_chunk(target, chunks, chunks.c.distance, chunks.c.distance).cte(
        query.named("near_row")
    )


def _exact_rows(target: Target, query: BoundQuery, *, only_if: ColumnElement[bool]) -> CTE:
    """The exact answer; nothing is computed unless ``only_if`` holds."""
    exact = distance(target, query)
    chunks = (
        target.chunks_of_source(query, exact.label("distance"))
        .where(only_if, exact.is_not(None))  # a row of the source may be without its vector yet
        .subquery("exact_chunk")
    )
    rows = best_chunk(target, chunks, chunks.c.distance, chunks.c.distance).subquery("exact_best")
    order = [rows.c.distance, *target.key_of(rows)]
    return select(*rows.c).order_by(*order).limit(query.candidates).cte(query.named("exact_row"))


def _settings(target: Target, query: BoundQuery, candidates: Any) -> CTE:
    """Settings of this transaction, made inside the statement, so that one ``Select`` is all.

    Without them an HNSW scan ends silently after 40 rows, whatever the LIMIT says. The space is
    checked here too: a query embedded by another model is refused.
    """
    chosen = query.tuning.ef_search
    wide = func.least(func.greatest(candidates, LEAST_EF_SEARCH), MOST_EF_SEARCH)
    ef_search = str(chosen) if chosen else cast(wide, Text)
    return select(
        func.set_config("hnsw.ef_search", ef_search, True).label("ef_search"),
        func.set_config("hnsw.iterative_scan", "relaxed_order", True).label("iterative_scan"),
        func.set_config("ivfflat.probes", str(query.tuning.probes), True).label("probes"),
        func.set_config("ivfflat.iterative_scan", "relaxed_order", True).label("more_probes"),
        func.embedsql.require_space(target.index, query.space, target.generation).label("space"),
    ).cte(query.named("settings"))
