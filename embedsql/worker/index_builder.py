"""A thread that builds the approximate indexes of what the worker has embedded."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import psycopg

from embedsql.calibration import calibrate_if_due
from embedsql.registry import RegisteredIndex
from embedsql.vector_index import BuildState, ensure_vector_indexes
from embedsql.worker.connections import said

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
BUSY_SECONDS = 1.0  # how long a look waits for a moment when no batch is under way


class _Look(NamedTuple):
    """When an index was looked at, after how many written rows, and what came of it."""

    at: float
    written: int
    found: Future[bool]

    @property
    def error(self) -> BaseException | None:
        """What it failed with, if it did; it must be over."""
        return self.found.exception()

    @property
    def refusal(self) -> str | None:
        """Why the server will not build, for lack of disk or memory, say: no connection is lost."""
        error = self.error
        if not isinstance(error, psycopg.OperationalError | psycopg.InternalError):
            return None
        # connections that break (08), and servers that go down (57P)
        lost = (error.sqlstate or "08").startswith(("08", "57P"))
        return None if lost else said(error)

    def is_outdated(self, written: int) -> bool:
        """Whether the index waited for rows, and some have come."""
        return self.error is None and not self.found.result() and written != self.written


class IndexBuilder:
    """Builds vector indexes in a thread and on connections of its own; batches go on meanwhile.

    Args:
        open_connection: Opens one, which a build has to itself.
        woken: Called when a look at an index is over.
    """

    def __init__(
        self, open_connection: Callable[[], psycopg.Connection], woken: Callable[[], None]
    ) -> None:
        self._open_connection = open_connection
        self._woken = woken
        self._connection: psycopg.Connection | None = None
        self._looks: dict[int, _Look] = {}
        self._wanted: dict[int, float] = {}  # since when a look has waited for such a moment
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embedsql-builder")

    def __enter__(self) -> IndexBuilder:
        return self

    def __exit__(self, *exc: object) -> None:
        # a build that is cut short leaves an INVALID index, which the next look replaces
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._connection is not None:
            self._connection.cancel_safe()
        self._thread.shutdown()

    def look(self, index: RegisteredIndex, written: int, *, busy: bool) -> None:
        """Have the index built if it is not there; asked again within a minute, do nothing.

        Args:
            index: The index.
            written: Rows that were written so far. An index that waits for rows is looked at again
                after more of them.
            busy: Whether rows of it are in hand: what is sampled and indexed now is not all. On a
                table that changes all the time it always is, so the look waits for a second only.

        Raises:
            psycopg.Error: The look before this one failed, and not for lack of disk or memory.
            ConnectionFailedError: Likewise.
        """
        last = self._looks.get(index.index_id)
        if last is not None and not last.found.done():
            return
        if last is not None and last.error is not None and last.refusal is None:
            del self._looks[index.index_id]
            raise last.error
        now = time.monotonic()
        if busy and now - self._wanted.setdefault(index.index_id, now) < BUSY_SECONDS:
            return
        self._wanted.pop(index.index_id, None)
        if last is None or now - last.at >= LOOK_SECONDS or last.is_outdated(written):
            found = self._thread.submit(self._look, index)
            self._looks[index.index_id] = _Look(now, written, found)

    def is_settled(self, index: RegisteredIndex, written: int) -> bool:
        """Whether the index was looked at and nothing is being built."""
        last = self._looks.get(index.index_id)
        return (
            last is not None
            and last.found.done()
            and last.error is None
            and not last.is_outdated(written)
        )

    def refusal(self, index: RegisteredIndex) -> str | None:
        """Why the server would not build an index when it was looked at last, if that is over."""
        last = self._looks.get(index.index_id)
        return last.refusal if last is not None and last.found.done() else None

    def _look(self, index: RegisteredIndex) -> bool:
        """Returns whether the index is there now, or is not meant to be."""
        try:
            with self._open_connection() as self._connection:
                calibrate_if_due(self._connection, index)
                return ensure_vector_indexes(self._connection, index) is not BuildState.WAITS
        except psycopg.Error as error:
            log.warning("the vector index of %s was not built: %s", index.label, said(error))
            raise
        finally:
            self._connection = None
            self._woken()
