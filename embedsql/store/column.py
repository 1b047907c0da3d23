"""Vectors in a column of the source: one for each row, written only where nobody holds the row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from embedsql.changelog import Batch
from embedsql.store.arrays import Array, VectorArray
from embedsql.store.keys import keys_at, keys_of

if TYPE_CHECKING:
    from embedsql.store.outcome import Encoded, Row


class VectorColumn:
    """Writes one index's vectors into its source.

    Args:
        filled: Gives the statement of a file of this folder, its slots filled.
        vector_type: ``vector`` or ``halfvec``.
    """

    def __init__(self, filled: Callable[[str], sql.Composed], vector_type: str) -> None:
        self._type = vector_type
        self._lock = filled("lock_source.sql")
        self._save = filled("save_column.sql")
        self._blank = filled("blank_column.sql")

    def lock(self, connection: psycopg.Connection, batch: Batch) -> set[int]:
        """Lock the batch's rows till the end of the transaction, but those that another holds.

        Returns:
            The places of the rows that are locked now.
        """
        found = connection.execute(self._lock, keys_of(batch)).fetchall()
        return {place - 1 for (place,) in found}

    def save(
        self,
        connection: psycopg.Connection,
        batch: Batch,
        rows: Sequence[Row],
        vectors: Mapping[bytes, Encoded],
    ) -> None:
        """Write the vectors of rows that were locked; a blank row's becomes null."""
        full = [row for row in rows if row.chunks]
        if full:
            values: dict[str, Any] = {
                **keys_at(batch, [row.place for row in full]),
                "input_hashes": Array([row.input_hash for row in full], "bytea"),
                "embeddings": VectorArray(
                    [vectors[row.hashes[0]].vector for row in full], self._type
                ),
            }
            connection.execute(self._save, values)
        blank = [row.place for row in rows if row.chunks is not None and not row.chunks]
        if blank:
            connection.execute(self._blank, keys_at(batch, blank))
