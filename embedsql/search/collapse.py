"""Chunks to rows: a row stands where its best chunk stands."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.selectable import FromClause

from embedsql.search.target import Target


def best_chunk(
    target: Target,
    chunks: FromClause,
    best_first: ColumnElement[Any],
    *carried: ColumnElement[Any],
) -> Select[Any]:
    """One line a row: the key, ``chunk_seq`` of its best chunk, and that chunk's ``carried``.

    Args:
        target: The index.
        chunks: Lines with the key, ``chunk_seq`` and the rest.
        best_first: The order of a row's chunks; ties go to the earlier chunk.
        carried: Columns of ``chunks`` to keep.
    """
    place = (
        func.row_number()
        .over(partition_by=target.key_of(chunks), order_by=[best_first, chunks.c.chunk_seq])
        .label("place")
    )
    placed = select(*target.key_of(chunks), chunks.c.chunk_seq, *carried, place).subquery("placed")
    kept = [column for column in placed.c if column.name != "place"]
    return select(*kept).where(placed.c.place == 1)
