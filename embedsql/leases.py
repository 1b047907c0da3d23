"""Keep the leases of running batches alive while the model runs in another thread."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

import psycopg

from embedsql.changelog import Batch, ChangeLog
from embedsql.database import connect
from embedsql.errors import ConnectionFailedError

log = logging.getLogger(__name__)


class LeaseKeeper:
    """A thread that renews what it is given, on a connection of its own.

    A renewal that fails is only logged: the write is fenced, so a lost lease costs time, not truth.

    Args:
        conninfo: Where the database is.
        every: Seconds between renewals; a third of the lease leaves room for two failures.
    """

    def __init__(self, conninfo: str, every: float) -> None:
        self._conninfo = conninfo
        self._every = every
        self._held: dict[int, tuple[ChangeLog, Batch]] = {}
        self._guard = threading.Lock()
        self._stopped = threading.Event()
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

    def _run(self) -> None:
        connection: psycopg.Connection | None = None
        while not self._stopped.wait(self._every):
            with self._guard:
                held = list(self._held.values())
            if not held:
                continue
            try:
                if connection is None or connection.closed:
                    connection = connect(self._conninfo)
                for change_log, batch in held:
                    change_log.renew(connection, batch)
            except (psycopg.Error, ConnectionFailedError) as error:
                log.warning("leases could not be renewed: %s", error)
                if connection is not None:
                    connection.close()
        if connection is not None:
            connection.close()
