"""The change log of one index, and the batches that workers claim from it.

A log row says only "key k may have changed: make the vectors agree with the row". It carries no
text and no operation, so replays, duplicates, reordering and two workers on one key are
harmless; leases are for efficiency only. Deleting exactly the sequences that a batch observed is
safe, since two transactions cannot change one key at once: per key, log order is commit order.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from functools import partial
from typing import Any

import psycopg
from psycopg import sql

from embedsql import sqlfile
from embedsql.changelog.batch import BRIEFLY, LEASE_SECONDS, Batch, claimers_lock
from embedsql.changelog.burial import Burial
from embedsql.errors import LeaseLostError
from embedsql.registry import RegisteredIndex
from embedsql.slots import Slots

FOLDED = 250_000  # log rows that are searched for repeated changes of one key
FOLD_SECONDS = 5.0  # between two such searches, at least, while there is nothing to claim
WIDEST_WINDOW = 16  # log rows read for each key wanted, at most, where keys are repeated

_BRIEFLY = f"SELECT {BRIEFLY}"
_file = partial(sqlfile.statement, __package__)


class ChangeLog:
    """Claims for one worker on one index. Every method is one short transaction.

    Args:
        index: The index.
        worker: This worker's name, unlike any other's.
        lease: Seconds that a claim is valid; renew it while a batch runs.
    """

    def __init__(self, index: RegisteredIndex, worker: str, lease: float = LEASE_SECONDS) -> None:
        self._index_id = index.index_id
        self._worker = worker
        self._lease = lease
        self._hint = 0
        self._window = 1
        slots = Slots(index.spec, index.names)
        self._may_claim = _filled("may_claim.sql", slots)
        self._idle = False
        self._claim = _filled("claim.sql", slots)
        self._fold = _filled("fold.sql", slots)
        self._fold_due = 0.0
        self._claim_piece = _filled("claim_piece.sql", slots)
        self._expired = _filled("expired.sql", slots)
        self._split = _filled("split.sql", slots)
        self._burial = Burial(index)
        self._renew = _filled("renew.sql", slots)
        self._fence = _filled("fence.sql", slots)
        self._release = _filled("release.sql", slots)
        self._strays = _filled("strays.sql", slots)
        self._wake_due = _filled("wake_due.sql", slots)
        self._revive = _filled("revive.sql", slots)
        self._first = sql.SQL("SELECT min(seq) FROM {}").format(slots.log)
        self._crashes = sql.SQL(
            "SELECT crashes FROM {} "
            "WHERE batch_id = %(batch_id)s AND worker = %(worker)s FOR UPDATE"
        ).format(slots.batch)
        self._left = _filled("left.sql", slots)

    def claim(self, connection: psycopg.Connection, size: int) -> Batch | None:
        """Claim up to ``size`` keys; commits before returning, so that the text is read afterwards.

        Reading it in the claiming statement could pair a change's sequence with the text before it.
        After one that found nothing (beside a backfill, say), a look without a lock comes first.
        """
        if self._idle and not self._may_find(connection):
            return None
        crashed, found = self._find(connection, size)
        while crashed is not None:
            self._burial.bury(connection, crashed)
            crashed, found = self._find(connection, size)
        self._idle = found is None
        if found is None:
            return None
        batch = Batch.of(found)
        self._fit_window(batch, size)
        return batch

    def _find(
        self, connection: psycopg.Connection, size: int
    ) -> tuple[int | None, tuple[Any, ...] | None]:
        """The id of a batch whose only key must be buried first; else the batch claimed, if any."""
        with connection.transaction():
            claimers_lock(connection, self._index_id)
            crashed = self._recover(connection)
            if crashed is not None:
                return crashed, None
            connection.execute(self._wake_due, {"index_id": self._index_id})
            values: dict[str, Any] = {"worker": self._worker, "lease": self._lease}
            found = connection.execute(self._claim_piece, values).fetchone()
            if found is None:
                values |= {"size": size, "window": size * self._window, "hint": self._hint}
                found = connection.execute(self._claim, values).fetchone()
                self._fold_repeated(connection, found, values["window"])
        return None, found

    def _may_find(self, connection: psycopg.Connection) -> bool:
        values = {"index_id": self._index_id, "hint": self._hint}
        with connection.transaction():
            connection.execute(_BRIEFLY)
            found = connection.execute(self._may_claim, values).fetchone()
        return found is not None and bool(found[0])

    def _fold_repeated(
        self, connection: psycopg.Connection, found: tuple[Any, ...] | None, window: int
    ) -> None:
        """Where few keys fill the log, or one that is claimed does, thin out their changes."""
        if found is None:
            due = time.monotonic() >= self._fold_due
        else:
            versions, seqs = found[-2:]
            due = len(seqs) >= window > 2 * len(versions)
        if due:
            connection.execute(self._fold, {"hint": self._hint, "window": FOLDED})
            self._fold_due = time.monotonic() + FOLD_SECONDS

    def refresh_hint(self, connection: psycopg.Connection) -> None:
        """Find where the log begins, so that claims need not step over its dead rows.

        Only a starting point for the scan, to be refreshed every few seconds: a transaction that
        commits late can still add a lower sequence.
        """
        with connection.transaction():
            connection.execute(_BRIEFLY)
            row = connection.execute(self._first, {}).fetchone()
        self._hint = 0 if row is None or row[0] is None else row[0] - 1

    def renew(self, connection: psycopg.Connection, batch: Batch) -> bool:
        """Extend the lease.

        Returns:
            Whether the batch was still ours, and is not being written.

        Raises:
            psycopg.errors.LockNotAvailable: Somebody keeps the batches locked.
        """
        with connection.transaction():
            connection.execute(_BRIEFLY)
            return connection.execute(self._renew, self._own(batch)).rowcount == 1

    def release(self, connection: psycopg.Connection, batch: Batch) -> None:
        """Give the keys back, unharmed; no attempt is charged.

        Raises:
            psycopg.errors.LockNotAvailable: Somebody keeps the log locked.
        """
        self._give_back(connection, batch.batch_id, backfilled=0 in batch.versions)

    def release_strays(self, connection: psycopg.Connection, known: Collection[int]) -> None:
        """Give back what is claimed in this worker's name and not among the batches it knows."""
        values = {"worker": self._worker, "known": list(known)}
        for batch_id, backfilled in connection.execute(self._strays, values).fetchall():
            self._give_back(connection, batch_id, backfilled=backfilled)

    def fence(self, connection: psycopg.Connection, batch: Batch) -> None:
        """Give up the lease inside the caller's transaction, as the first thing of a write.

        Raises:
            LeaseLostError: Another worker owns it now; the caller must roll back.
        """
        if connection.execute(self._fence, self._own(batch)).rowcount == 0:
            raise LeaseLostError(f"the lease of batch {batch.batch_id} ran out")

    def split(self, connection: psycopg.Connection, batch: Batch) -> None:
        """Give the keys back in pieces, as after a crash: one of them is at fault."""
        with connection.transaction():
            connection.execute(_BRIEFLY)
            found = connection.execute(self._crashes, self._own(batch)).fetchone()
            if found is not None:
                self._split_dead(connection, batch.batch_id, found[0], len(batch))

    def revive(self, connection: psycopg.Connection) -> int:
        """Log every dead letter again.

        Returns:
            How many.
        """
        return connection.execute(self._revive, {"index_id": self._index_id}).rowcount

    def is_empty(self, connection: psycopg.Connection) -> bool:
        """Whether nothing is logged, claimed, to be backfilled or waiting for its next attempt."""
        left = connection.execute(self._left, {"index_id": self._index_id}).fetchone()
        return not any(left or ())

    def _fit_window(self, batch: Batch, size: int) -> None:
        """Look at more log rows next time where these held too few keys, else at fewer again."""
        if len(batch) == size:
            self._window = max(self._window // 2, 1)
        elif len(batch.seqs) >= size * self._window:
            self._window = min(self._window * 2, WIDEST_WINDOW)

    def _recover(self, connection: psycopg.Connection) -> int | None:
        """Split the batch of one dead worker, or say which holds a key that keeps killing them."""
        found = connection.execute(self._expired, {}).fetchone()
        if found is None:
            return None
        batch_id, crashes, size = found
        if self._burial.is_due(crashes, size):
            return int(batch_id)
        self._split_dead(connection, batch_id, crashes, size)
        return None

    def _split_dead(
        self, connection: psycopg.Connection, batch_id: int, crashes: int, size: int
    ) -> None:
        # into pieces of the square root of its size, then single keys: the third crash tells whose
        piece = math.ceil(math.sqrt(size)) if crashes == 0 else 1
        connection.execute(self._split, {"batch_id": batch_id, "size": piece})

    def _give_back(
        self, connection: psycopg.Connection, batch_id: int, *, backfilled: bool
    ) -> None:
        # the log, which may be locked, is left alone: only what a backfill found is to be logged
        statement = self._release if backfilled else self._fence
        with connection.transaction():
            connection.execute(_BRIEFLY)
            connection.execute(statement, {"batch_id": batch_id, "worker": self._worker})

    def _own(self, batch: Batch) -> dict[str, Any]:
        return {"batch_id": batch.batch_id, "worker": self._worker, "lease": self._lease}


def _filled(name: str, slots: Slots) -> sql.Composed:
    return _file(
        name,
        log=slots.log,
        batch=slots.batch,
        key_columns=slots.key_columns,
        array_columns=slots.array_columns,
        returned_arrays=slots.returned_arrays,
        batch_arrays=slots.arrays_of("b"),
        given_back_arrays=slots.arrays_of("given_back"),
        dead_arrays=slots.arrays_of("dead"),
        aggregated_key=slots.aggregated_key,
        key_json=slots.key_json,
        key_from_json=slots.key_from_json("key"),
    )
