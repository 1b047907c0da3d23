"""Vectors in a column of the source: one for each row, written only where nobody holds the row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from embedsql.changelog import Batch
from embedsql.slots import Slots
from embedsql.store.arrays import Array, VectorArray, keys_at, keys_of
from embedsql.store.filled import filled
from embedsql.store.outcome import Encoded, Row


class VectorColumn:
    """Writes one index's vectors into its source.

    Args:
        slots: Of its statements.
    """

    def __init__(self, slots: Slots) -> None:
        self._type = slots.spec.vectors.stored_as
        self._lock_own = sql.SQL("LOCK TABLE {}, {}, {} IN ROW EXCLUSIVE MODE").format(
            slots.log, slots.row, slots.chunk
        )
        self._lock = filled("lock_source.sql", slots)
        self._save = filled("save_column.sql", slots)
        self._blank = filled("blank_column.sql", slots)
        self._refuse = filled("clear_refused.sql", slots)

    def lock(self, connection: psycopg.Connection, batch: Batch) -> set[int]:
        """Lock the batch's rows till the end of the transaction, but those that another holds.

        Returns:
            The places of the rows that are locked now.
        """
        # Our tables first: with the rows locked, waiting for these would keep an application that
        # wants a row waiting as well.
        connection.execute(self._lock_own, {})
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

    def refuse(self, connection: psycopg.Connection, values: Mapping[str, Any]) -> None:
        """Take away the vectors of what rows that were locked said before.

        Args:
            connection: In the transaction of the write.
            values: Their chunks, one each, as parameters.
        """
        connection.execute(self._refuse, values)
