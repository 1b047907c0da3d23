"""Write a batch and acknowledge it, in one short transaction, guarded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import psycopg
from psycopg import sql

from embedsql.changelog import BRIEFLY, BY_KEY, Batch, ChangeLog
from embedsql.database import storable
from embedsql.registry import RegisteredIndex
from embedsql.slots import Slots
from embedsql.store.arrays import Array, keys_at, keys_of
from embedsql.store.chunks import Chunks
from embedsql.store.column import VectorColumn
from embedsql.store.filled import filled
from embedsql.store.outcome import Encoded, Failure, Outcome, Row

# synchronous_commit: no need to wait for the disk. Should the server crash, vectors and
# acknowledgement are lost together, and the log still holds the keys.
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
        self._lock = slots.lock_source
        self._save_rows = filled("save_rows.sql", slots)
        self._acknowledge = filled("acknowledge.sql", slots)
        self._forget_rows = filled("forget_rows.sql", slots)
        self._outdate_rows = filled("outdate_rows.sql", slots)
        self._log_keys = filled("log_keys.sql", slots)
        self._park = filled("park.sql", slots)
        self._column = None
        if index.spec.storage == "column":
            self._column = VectorColumn(slots)
        self._chunks = Chunks(index, slots, self._column)

    def write(
        self,
        connection: psycopg.Connection,
        log: ChangeLog,
        batch: Batch,
        rows: Sequence[Row],
        vectors: Mapping[bytes, Encoded],
        failures: Sequence[Failure] = (),
        failed: Sequence[Row] = (),
    ) -> Outcome:
        """Store what still agrees with the source, remove what is gone, park what failed.

        Keys whose text changed meanwhile are neither written nor acknowledged: they stay logged.
        Of what failed the chunks are stored all the same, in place of what the row said before.

        Args:
            connection: In autocommit mode.
            log: The worker's view of the change log.
            batch: The claim.
            rows: Those of its rows that are done.
            vectors: Of their chunks, by digest.
            failures: Rows that could not be embedded.
            failed: Those of them whose text is known.

        Raises:
            LeaseLostError: Another worker owns the batch; nothing was written.
        """
        if not self._chunks.measured:
            with connection.transaction():
                connection.execute(_SETTINGS)
                connection.execute(f"SELECT {BRIEFLY}")
                self._chunks.measure(connection, batch, [*rows, *failed])
        with connection.transaction():
            connection.execute(_SETTINGS)
            connection.execute(self._lock, {})
            log.fence(connection, batch)
            rows, locked_away = self._lock_rows(connection, batch, rows)
            failed, held = self._lock_rows(connection, batch, failed)
            outcome = self._save(connection, batch, rows, vectors)
            current = self._forget(connection, self._forget_rows, batch, failed)
            self._chunks.refuse(connection, batch, current, vectors)
            outdated = self._forget(connection, self._outdate_rows, batch, [*locked_away, *held])
            self._chunks.show_words(connection, batch, outdated)
            words_of = {row.place: row.input_hash for row in (*current, *outdated)}
            settled = set(outcome)
            late = {row.place for row in held} | settled
            lost = [one for one in failures if one.place not in late]
            lost += [_held(row) for row in (*locked_away, *held) if row.place not in settled]
            self._park_failures(connection, batch, lost, words_of)
            self._log_unsettled(connection, batch, settled | {one.place for one in lost})
        kinds = list(outcome.values())
        gone = kinds.count("gone")
        saved = len(kinds) - gone
        changed = len(batch) - saved - gone - len(lost)
        return Outcome(saved, gone, changed, len(lost))

    def _lock_rows(
        self, connection: psycopg.Connection, batch: Batch, rows: Sequence[Row]
    ) -> tuple[Sequence[Row], Sequence[Row]]:
        """Where the source holds the vectors: lock its rows, and set aside those that are held."""
        if self._column is None or not rows:
            return rows, ()
        locked = self._column.lock(connection, batch)
        held = [row for row in rows if row.place not in locked]
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
        self._chunks.replace(connection, batch, made, outcome, vectors)
        self._acknowledge_keys(connection, batch, sorted(outcome))
        return outcome

    def _forget(
        self,
        connection: psycopg.Connection,
        statement: sql.Composed,
        batch: Batch,
        rows: Sequence[Row],
    ) -> Sequence[Row]:
        """Forget what was stored of rows of which no vector is written; those still as read."""
        if not rows:
            return ()
        values = {
            **keys_at(batch, [row.place for row in rows]),
            "seen": Array([row.seen for row in rows], "xid"),
            "input_hashes": Array([row.input_hash for row in rows], "bytea"),
        }
        found = connection.execute(statement, values).fetchall()
        return [rows[place - 1] for (place,) in found]

    def _acknowledge_keys(
        self, connection: psycopg.Connection, batch: Batch, places: Sequence[int]
    ) -> None:
        if not places or not batch.seqs:  # keys that a backfill found are not in the log
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
        self,
        connection: psycopg.Connection,
        batch: Batch,
        failures: Sequence[Failure],
        words_of: Mapping[int, bytes | None],
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
            "errors": [storable(connection, failure.error) for failure in failures],
            "input_hashes": Array([words_of.get(place) for place in places], "bytea"),
            "seqs": list(batch.seqs),
            "index_id": self._index.index_id,
            "max_attempts": self._max_attempts,
        }
        connection.execute(self._park, values)


def _held(row: Row) -> Failure:
    return Failure(row.place, False, "RowLocked", "another transaction holds the row", False)
