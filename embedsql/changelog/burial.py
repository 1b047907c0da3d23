"""What becomes of a key that was alone in a worker's hands and took it down three times."""

from __future__ import annotations

import contextlib

import psycopg
from psycopg import sql

from embedsql import sqlfile
from embedsql.changelog.batch import BY_KEY, claimers_lock
from embedsql.inputs import Inputs
from embedsql.registry import RegisteredIndex
from embedsql.slots import Slots
from embedsql.vector_slots import VectorSlots

MOST_CRASHES = 3  # of a worker that held one key alone, before that key is buried

# a row that a policy hides would be taken for one that says something else
_SETTINGS = f"""SELECT set_config('row_security', 'off', true),
    set_config('lock_timeout', '2s', true), {BY_KEY}"""


class Burial:
    """Makes dead letters of one index's keys, in transactions of its own.

    Args:
        index: The index.
    """

    def __init__(self, index: RegisteredIndex) -> None:
        self._index_id = index.index_id
        slots = Slots(index.spec, index.names)
        self._lock = sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(slots.source)
        self._is_due = sqlfile.statement(__package__, "is_dead.sql", batch=slots.batch)
        self._bury = _filled("bury_crashed.sql", slots)
        self._clear = None
        if index.spec.storage == "column":
            self._clear = _filled("clear_crashed.sql", slots)

    def is_due(self, crashes: int, size: int) -> bool:
        """Whether a dead worker's batch, with so many dead before it, is not to be tried again."""
        return size == 1 and crashes + 1 >= MOST_CRASHES

    def bury(self, connection: psycopg.Connection, batch_id: int) -> None:
        """Make a dead letter of a batch's only key, unless somebody else did.

        Raises:
            psycopg.errors.LockNotAvailable: The source is locked.
        """
        values = {"batch_id": batch_id, "index_id": self._index_id}
        with connection.transaction():
            connection.execute(_SETTINGS)
            # The source first, as a user's TRUNCATE does before its trigger empties our tables:
            # the other way round, the two could deadlock.
            connection.execute(self._lock, {})
            claimers_lock(connection, self._index_id)
            if not connection.execute(self._is_due, values).rowcount:
                return
            if self._clear is not None:
                # a trigger of the source may refuse it; no search shows a vector without a chunk
                with contextlib.suppress(psycopg.errors.RaiseException), connection.transaction():
                    connection.execute(self._clear, values)
            connection.execute(self._bury, values)


def _filled(name: str, slots: Slots) -> sql.Composed:
    return sqlfile.statement(
        __package__,
        name,
        log=slots.log,
        batch=slots.batch,
        row=slots.row,
        chunk=slots.chunk,
        source=slots.source,
        column=sqlfile.identifier(slots.spec.vector_column),
        key_columns=slots.key_columns,
        key_json=slots.key_json,
        batch_arrays=slots.arrays_of("b"),
        dead_arrays=slots.arrays_of("dead"),
        input_hash=Inputs(slots.spec).hash,
        source_of_key=slots.key_match("s", "k"),
        row_of_key=slots.same_key("r", "k"),
        chunk_of_key=slots.same_key("c", "k"),
        vector_is_own=VectorSlots(slots).is_own,
    )
