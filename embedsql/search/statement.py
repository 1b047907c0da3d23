"""The whole search, as one ``Select`` that the caller may extend, join and run."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, Table, and_, func, select

from embedsql.search.fusion import ranked_rows
from embedsql.search.hit import HitBundle
from embedsql.search.query import Query
from embedsql.search.target import Target

SNIPPET_CHARACTERS = 240


def search_statement(target: Target, query: Query) -> Select[Any]:
    """Rows of the source with their ``Hit``, best first, ties by key.

    Returns:
        Lines of ``(entity, hit)`` for a mapped class, of ``(*columns, hit)`` for a ``Table``.
    """
    ranked = ranked_rows(target, query)
    source, chunk = target.source, target.chunk
    entity = source.table.columns if isinstance(source.entity, Table) else [source.entity]
    hit = HitBundle(
        ranked.c.score,
        ranked.c.dense_rank,
        ranked.c.similarity,
        ranked.c.lexical_rank,
        ranked.c.bm25,
        ranked.c.chunk_seq,
        func.left(chunk.c.chunk, SNIPPET_CHARACTERS).label("snippet"),
        ranked.c.strategy,
    )
    pairs = zip(target.key_of(ranked), target.key_of(chunk), strict=True)
    same_chunk = and_(*(left == right for left, right in pairs))
    return (
        select(*entity, hit)
        .select_from(source.entity)
        .join(ranked, target.is_row_of(ranked))
        .join(chunk, and_(same_chunk, chunk.c.chunk_seq == ranked.c.chunk_seq))
        .order_by(ranked.c.score.desc(), *source.key)
        .limit(query.limit)
    )
