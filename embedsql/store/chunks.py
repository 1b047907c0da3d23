"""Write the chunks of a batch's rows, in the transaction of the write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from embedsql.changelog import Batch
from embedsql.registry import RegisteredIndex
from embedsql.slots import Slots
from embedsql.store.arrays import Array, VectorArray, keys_at
from embedsql.store.column import VectorColumn
from embedsql.store.filled import filled
from embedsql.store.outcome import Encoded, Row

_UNKNOWN = (None, None)
_OF_ANOTHER = b"\1"  # before a digest: no vector that is there is of this text


class Chunks:
    """The chunks of one index.

    Args:
        index: The index.
        slots: Of its statements.
        column: Where the source holds the vectors.

    Attributes:
        measured: Whether the average length of a chunk is known, or there are no words.
    """

    def __init__(self, index: RegisteredIndex, slots: Slots, column: VectorColumn | None) -> None:
        self._column = column
        self._type = index.spec.vectors.stored_as
        self._delete_surplus = filled("delete_surplus.sql", slots)
        self._add = filled("add_chunks.sql", slots)
        self._save = filled("save_chunks.sql", slots)
        self._save_refused = filled("save_refused.sql", slots)
        self.measured = index.spec.lexical is None
        self._is_measured = filled("is_measured.sql", slots)
        self._measure = filled("measure.sql", slots)
        self._note_configurations = None
        if index.spec.lexical_column is not None:
            self._note_configurations = filled("note_configurations.sql", slots)

    def replace(
        self,
        connection: psycopg.Connection,
        batch: Batch,
        made: Sequence[Row],
        outcome: Mapping[int, str],
        vectors: Mapping[bytes, Encoded],
    ) -> None:
        """Remove chunks that are none any more, and write those there are.

        Args:
            connection: In the transaction of the write.
            batch: The claim.
            made: A row for each of its keys.
            outcome: What became of these, by place: ``added``, ``saved``, ``gone`` and others.
            vectors: Of the chunks, by digest.
        """
        added, saved, gone = (
            [place for place, what in outcome.items() if what == kind]
            for kind in ("added", "saved", "gone")
        )
        new = [made[place] for place in added]
        rewritten = [made[place] for place in saved if made[place].chunks is not None]
        if self._column is not None:
            self._column.save(connection, batch, new + rewritten, vectors)
        # of rows that are new to us, too: chunks left over from before would be in the way
        left = dict.fromkeys(added + gone, 0) | {row.place: row.chunk_count for row in rewritten}
        self._cut(connection, batch, left)
        for statement, rows in ((self._add, new), (self._save, rewritten)):
            self._put(connection, statement, _columns(batch, rows, vectors, self._type))

    def refuse(
        self,
        connection: psycopg.Connection,
        batch: Batch,
        rows: Sequence[Row],
        vectors: Mapping[bytes, Encoded],
    ) -> None:
        """Write the chunks of rows of which the model refused some, those without a vector."""
        values = _columns(batch, rows, vectors, self._type)
        if values is None:
            return
        if self._column is not None:
            self._column.refuse(connection, values)
        self._cut(connection, batch, {row.place: row.chunk_count for row in rows})
        self._put(connection, self._save_refused, values)

    def show_words(self, connection: psycopg.Connection, batch: Batch, rows: Sequence[Row]) -> None:
        """Write the words of rows whose vectors, in the source, are still of another text."""
        anew = [row._replace(hashes=[_OF_ANOTHER + one for one in row.hashes]) for row in rows]
        self._cut(connection, batch, {row.place: row.chunk_count for row in rows})
        self._put(connection, self._save_refused, _columns(batch, anew, {}, self._type))

    def measure(
        self,
        connection: psycopg.Connection,
        batch: Batch,
        rows: Sequence[Row],
    ) -> None:
        """Before a first write: find the average length by which words are weighed.

        In a transaction of its own, since it locks the index's row of the registry.
        """
        found = connection.execute(self._is_measured, {}).fetchone()
        if found is None or not found[0]:
            values = _columns(batch, rows, {}, self._type)
            if values is None:
                return
            connection.execute(self._measure, values)
        self.measured = True

    def _cut(self, connection: psycopg.Connection, batch: Batch, counts: Mapping[int, int]) -> None:
        """Remove the chunks beyond so many, by place."""
        if counts:
            surplus = {
                **keys_at(batch, list(counts)),
                "chunk_counts": Array([*counts.values()], "int4"),
            }
            connection.execute(self._delete_surplus, surplus)

    def _put(
        self, connection: psycopg.Connection, statement: sql.Composed, values: dict[str, Any] | None
    ) -> None:
        if values is not None:
            connection.execute(statement, values)
            if self._note_configurations is not None:
                connection.execute(self._note_configurations, values)


def _columns(
    batch: Batch, rows: Sequence[Row], vectors: Mapping[bytes, Encoded], vector_type: str
) -> dict[str, Any] | None:
    """The chunks of rows as parameters, and the vectors there are; ``None``: there are none."""
    full = [row for row in rows if row.chunks]
    if not full:
        return None
    chunks = [chunk for row in full for chunk in row.chunks or ()]
    starts, texts, _, _, titled = zip(*chunks, strict=True)
    hashes = [one for row in full for one in row.hashes]
    encoded, terms = zip(*[vectors.get(one, _UNKNOWN) for one in hashes], strict=True)
    return {
        **keys_at(batch, [row.place for row in full for _ in row.hashes]),
        "chunk_seqs": Array([seq for row in full for seq in range(row.chunk_count)], "int4"),
        "starts": Array(starts, "int4"),
        "content_hashes": Array(hashes, "bytea"),
        "texts": Array(texts, "text"),
        "headings": Array([chunk.heading for chunk in chunks], "text"),
        "titled": Array(titled, "int4"),
        "embeddings": VectorArray(encoded, vector_type),
        "terms": Array(terms, "text"),
    }
