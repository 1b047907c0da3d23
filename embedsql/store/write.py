"""Write a batch and acknowledge it, in one short transaction, guarded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

import psycopg
from psycopg import sql

from embedsql import sqlfile
from embedsql.changelog import BY_KEY, Batch, ChangeLog
from embedsql.inputs import Inputs
from embedsql.registry import RegisteredIndex
from embedsql.slots import Slots
from embedsql.store.arrays import Array, VectorArray
from embedsql.store.column import VectorColumn
from embedsql.store.keys import keys_at, keys_of
from embedsql.store.outcome import Encoded, Failure, Outcome, Row
from embedsql.vector_slots import VectorSlots

# Not to wait for the disk: should the server crash, vectors and acknowledgement are lost together,
# and the log still holds the keys.
_SETTINGS = f"""SELECT set_config('row_security', 'off', true),
    set_config('lock_timeout', '5s', true), set_config('synchronous_commit', 'off', true),
    {BY_KEY}"""

_NOTHING_MADE = Row(-1, None, None, (), (), 0, False)


class Vectors:
    """Writes the vectors of one index.

    Args:
        index: The index.
        max_attempts: Failures of one version of a row before it becomes a dead letter.
    """

    def __init__(self, index: RegisteredIndex, max_attempts: int = 5) -> None:
        self._index = index
        self._max_attempts = max_attempts
        slots = Slots(index.spec, index.names)
        self._lock = sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(slots.source)
        self._save_rows = _filled("save_rows.sql", slots)
        self._delete_surplus = _filled("delete_surplus.sql", slots)
        self._add_chunks = _filled("add_chunks.sql", slots)
        self._save_chunks = _filled("save_chunks.sql", slots)
        self._measured = index.spec.lexical is None
        self._is_measured = sqlfile.statement(
            __package__,
            "is_measured.sql",
            name=sqlfile.literal(index.spec.name),
            generation=sqlfile.literal(index.generation),
        )
        self._note_configurations = (
            None
            if index.spec.lexical_column is None
            else sqlfile.statement(
                __package__,
                "note_configurations.sql",
                key_parameters=slots.key_parameters,
                key_columns=slots.key_columns,
                source=slots.source,
                key_match=slots.key_match("s", "k"),
                lexical_column=sqlfile.identifier(index.spec.lexical_column),
                name=sqlfile.literal(index.spec.name),
                generation=sqlfile.literal(index.generation),
            )
        )
        self._acknowledge = _filled("acknowledge.sql", slots)
        self._log_keys = _filled("log_keys.sql", slots)
        self._park = _filled("park.sql", slots)
        self._type = index.spec.vectors.stored_as
        self._column = None
        if index.spec.storage == "column":
            self._column = VectorColumn(partial(_filled, slots=slots), self._type)

    def write(
        self,
        connection: psycopg.Connection,
        log: ChangeLog,
        batch: Batch,
        rows: Sequence[Row],
        vectors: Mapping[bytes, Encoded],
        failures: Sequence[Failure] = (),
    ) -> Outcome:
        """Store what still agrees with the source, remove what is gone, park what failed.

        Keys whose text changed meanwhile are neither written nor acknowledged: they stay logged.

        Args:
            connection: In autocommit mode.
            log: The worker's view of the change log.
            batch: The claim.
            rows: Those of its rows that are done.
            vectors: Of their chunks, by digest.
            failures: Rows that could not be embedded.

        Raises:
            LeaseLostError: Another worker owns the batch; nothing was written.
        """
        with connection.transaction():
            connection.execute(_SETTINGS)
            # The source first, as a user's TRUNCATE does before its trigger empties our tables:
            # the other way round, the two could deadlock.
            connection.execute(self._lock, {})
            log.fence(connection, batch)
            rows, locked_away = self._lock_rows(connection, batch, rows)
            outcome = self._save(connection, batch, rows, vectors)
            settled = set(outcome)
            lost = [one for one in (*failures, *locked_away) if one.place not in settled]
            self._park_failures(connection, batch, lost)
            self._log_unsettled(connection, batch, settled | {one.place for one in lost})
        kinds = list(outcome.values())
        gone = kinds.count("gone")
        saved = len(kinds) - gone
        changed = len(batch) - saved - gone - len(lost)
        return Outcome(saved, gone, changed, len(lost))

    def _lock_rows(
        self, connection: psycopg.Connection, batch: Batch, rows: Sequence[Row]
    ) -> tuple[Sequence[Row], Sequence[Failure]]:
        """Where the source holds the vectors: lock its rows, and set aside those that are held."""
        if self._column is None or not rows:
            return rows, ()
        locked = self._column.lock(connection, batch)
        held = [
            Failure(row.place, False, "RowLocked", "another transaction holds the row", False)
            for row in rows
            if row.place not in locked
        ]
        return [row for row in rows if row.place in locked], held

    def _save(
        self,
        connection: psycopg.Connection,
        batch: Batch,
        rows: Sequence[Row],
        vectors: Mapping[bytes, Encoded],
    ) -> Mapping[int, str]:
        # one element for each key, empty where nothing was made of it
        made: list[Row] = [_NOTHING_MADE] * len(batch)
        for row in rows:
            made[row.place] = row
        _, seen, input_hashes, chunks, _, counts, truncated = zip(*made, strict=True)
        values = {
            **keys_of(batch),
            "versions": Array(batch.versions, "int8"),
            "seen": Array(seen, "xid"),
            "input_hashes": Array(input_hashes, "bytea"),
            "chunk_counts": Array(counts, "int4"),
            "truncated": Array(truncated, "bool"),
            "kept": Array([one is None for one in chunks], "bool"),
        }
        found = connection.execute(self._save_rows, values).fetchall()
        outcome = {place - 1: what for place, what in found}
        self._replace_chunks(connection, batch, made, outcome, vectors)
        self._acknowledge_keys(connection, batch, sorted(outcome))
        return outcome

    def _replace_chunks(
        self,
        connection: psycopg.Connection,
        batch: Batch,
        made: Sequence[Row],
        outcome: Mapping[int, str],
        vectors: Mapping[bytes, Encoded],
    ) -> None:
        """Remove chunks that are none any more, and write those there are."""
        added, saved, gone = (
            [place for place, what in outcome.items() if what == kind]
            for kind in ("added", "saved", "gone")
        )
        new = [made[place] for place in added]
        rewritten = [made[place] for place in saved if made[place].chunks is not None]
        if self._column is not None:
            self._column.save(connection, batch, new + rewritten, vectors)
        # of a row that is added, too: should any be left of it, they are not in the way then
        left = dict.fromkeys(added + gone, 0) | {row.place: row.chunk_count for row in rewritten}
        if left:
            surplus = {
                **keys_at(batch, list(left)),
                "chunk_counts": Array([*left.values()], "int4"),
            }
            connection.execute(self._delete_surplus, surplus)
        if not self._knows_length(connection):  # the first to be saved tell it
            rewritten, new = new + rewritten, []
        self._write_chunks(connection, self._add_chunks, batch, new, vectors)
        self._write_chunks(connection, self._save_chunks, batch, rewritten, vectors)

    def _knows_length(self, connection: psycopg.Connection) -> bool:
        """Whether the average length of a chunk is known, by which its words are weighed."""
        if not self._measured:
            found = connection.execute(self._is_measured, {}).fetchone()
            self._measured = found is not None and found[0]
        return self._measured

    def _write_chunks(
        self,
        connection: psycopg.Connection,
        statement: sql.Composed,
        batch: Batch,
        rows: Sequence[Row],
        vectors: Mapping[bytes, Encoded],
    ) -> None:
        full = [row for row in rows if row.chunks]
        if not full:
            return
        chunks = [chunk for row in full for chunk in row.chunks or ()]
        starts, texts, _, _, titled = zip(*chunks, strict=True)
        hashes = [one for row in full for one in row.hashes]
        encoded, terms = zip(*[vectors[one] for one in hashes], strict=True)
        values: dict[str, Any] = {
            **keys_at(batch, [row.place for row in full for _ in row.hashes]),
            "chunk_seqs": Array([seq for row in full for seq in range(row.chunk_count)], "int4"),
            "starts": Array(starts, "int4"),
            "content_hashes": Array(hashes, "bytea"),
            "texts": Array(texts, "text"),
            "headings": Array([chunk.heading for chunk in chunks], "text"),
            "titled": Array(titled, "int4"),
            "embeddings": VectorArray(encoded, self._type),
            "terms": Array(terms, "text"),
        }
        connection.execute(statement, values)
        if self._note_configurations is not None:
            connection.execute(self._note_configurations, values)

    def _acknowledge_keys(
        self, connection: psycopg.Connection, batch: Batch, places: Sequence[int]
    ) -> None:
        if not places or not batch.seqs:  # a backfill's were not logged
            return
        values = {
            **keys_at(batch, places),
            "versions": Array([batch.versions[place] for place in places], "int8"),
            "seqs": Array(batch.seqs, "int8"),
            "index_id": self._index.index_id,
        }
        connection.execute(self._acknowledge, values)

    def _log_unsettled(
        self, connection: psycopg.Connection, batch: Batch, settled: Collection[int]
    ) -> None:
        """Log what a backfill found and this batch leaves: no log row speaks of it yet."""
        left = [
            place
            for place, version in enumerate(batch.versions)
            if version == 0 and place not in settled
        ]
        if left:
            connection.execute(self._log_keys, keys_at(batch, left))

    def _park_failures(
        self, connection: psycopg.Connection, batch: Batch, failures: Sequence[Failure]
    ) -> None:
        if not failures:
            return
        places = [failure.place for failure in failures]
        values = {
            **keys_at(batch, places),
            "versions": [batch.versions[place] for place in places],
            "permanent": [failure.permanent for failure in failures],
            "counted": [failure.counts for failure in failures],
            "classes": [failure.error_class for failure in failures],
            "errors": [_storable(failure.error) for failure in failures],
            "seqs": list(batch.seqs),
            "index_id": self._index.index_id,
            "max_attempts": self._max_attempts,
        }
        connection.execute(self._park, values)


def _storable(error: str) -> str:
    return error[:1000].replace("\0", "").encode("utf-8", "replace").decode()


def _filled(name: str, slots: Slots) -> sql.Composed:
    vector = VectorSlots(slots)
    return sqlfile.statement(
        __package__,
        name,
        log=slots.log,
        row=slots.row,
        chunk=slots.chunk,
        source=slots.source,
        input_hash=Inputs(slots.spec).hash,
        key_parameters=slots.key_parameters,
        key_columns=slots.key_columns,
        source_key=sqlfile.identifier(slots.spec.key[0].name),
        unnested_key=slots.unnested_key,
        row_of_claimed=slots.same_key("r", "c"),
        row_of_found=slots.same_key("r", "f"),
        chunk_of_key=slots.same_key("c", "k"),
        key_match=slots.key_match("s", "c"),
        key_json=slots.key_json,
        lexemes=slots.lexemes_expression,
        words_may_differ=slots.words_may_differ,
        terms=slots.terms_expression,
        name=sqlfile.literal(slots.spec.name),
        generation=sqlfile.literal(slots.names.generation),
        vector_array=sqlfile.raw(f"{slots.spec.vectors.stored_as}[]"),
        vector_columns=vector.saved_columns,
        vector_values=vector.saved_values,
        vector_from=vector.saved_from,
        vector_updated=vector.updated,
        column=vector.column,
    )
