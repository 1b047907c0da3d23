"""Signs of life: renew the leases of running batches and the worker's own row, in a thread."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

import psycopg

from embedsql.changelog import Batch, ChangeLog
from embedsql.errors import ConnectionFailedError
from embedsql.worker.heartbeat import Heartbeat

log = logging.getLogger(__name__)


class LeaseKeeper:
    """A thread that renews what it is given, on a connection of its own.

    A renewal that fails is only logged: the write is fenced, so a lost lease costs time, not truth.

    Args:
        open_connection: Opens one.
        every: Seconds between renewals; a third of the lease leaves room for two failures.
        heartbeat: The worker's own.
    """

    def __init__(
        self,
        open_connection: Callable[[], psycopg.Connection],
        every: float,
        heartbeat: Heartbeat,
    ) -> None:
        self._open_connection = open_connection
        self._every = every
        self._heartbeat = heartbeat
        self._held: dict[int, tuple[ChangeLog, Batch]] = {}
        self._guard = threading.Lock()
        self._stopped = threading.Event()
        self._connection: psycopg.Connection | None = None
        self._thread = threading.Thread(target=self._run, name="embedsql-leases", daemon=True)

    def __enter__(self) -> LeaseKeeper:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopped.set()
        self._thread.join()

    @contextlib.contextmanager
    def held(self, change_log: ChangeLog, batch: Batch) -> Iterator[None]:
        """Renew this batch's lease while the block runs."""
        with self._guard:
            self._held[id(batch)] = (change_log, batch)
        try:
            yield
        finally:
            with self._guard:
                del self._held[id(batch)]

    def batches(self, change_log: ChangeLog | None = None) -> list[Batch]:
        """What is held now, of one change log or of all."""
        with self._guard:
            held = list(self._held.values())
        return [batch for log, batch in held if change_log is None or log is change_log]

    def _run(self) -> None:
        self._try(self._heartbeat.beat)
        while not self._stopped.wait(self._every):
            self._try(self._renew)
        self._try(self._heartbeat.end)
        if self._connection is not None:
            self._connection.close()

    def _renew(self, connection: psycopg.Connection) -> None:
        with self._guard:
            held = list(self._held.values())
        for change_log, batch in held:
            try:
                change_log.renew(connection, batch)
            except psycopg.Error as error:  # dropped, or being dropped: the others go on
                if connection.closed:
                    raise
                log.info("a lease could not be renewed: %s", error)
        self._heartbeat.beat(connection)

    def _try(self, step: Callable[[psycopg.Connection], None]) -> None:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = self._open_connection()
            step(self._connection)
        except (psycopg.Error, ConnectionFailedError) as error:
            log.warning("the worker's heartbeat could not be written: %s", error)
            if self._connection is not None:
                self._connection.close()
