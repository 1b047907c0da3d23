"""Vectors in a column of the source: one for each row, written only where nobody holds the row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from embedsql.changelog import Batch
from embedsql.slots import Slots
from embedsql.store.arrays import Array, VectorArray
from embedsql.store.filled import filled
from embedsql.store.keys import keys_at, keys_of
from embedsql.store.outcome import Encoded, Row


class VectorColumn:
    """Writes one index's vectors into its source.

    Args:
        slots: Of its statements.
    """

    def __init__(self, slots: Slots) -> None:
        self._type = slots.spec.vectors.stored_as
        self._lock = filled("lock_source.sql", slots)
        self._save = filled("save_column.sql", slots)
        self._clear = filled("clear_column.sql", slots)

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
        self.clear(
            connection,
            batch,
            [row.place for row in rows if row.chunks is not None and not row.chunks],
        )

    def clear(self, connection: psycopg.Connection, batch: Batch, places: Sequence[int]) -> None:
        """Take the vectors of rows that were locked away."""
        if places:
            connection.execute(self._clear, keys_at(batch, places))
