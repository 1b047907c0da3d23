"""A thread that builds the approximate indexes of what the worker has embedded."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import psycopg

from embedsql.registry import RegisteredIndex
from embedsql.vector_index import ensure_vector_index

LOOK_SECONDS = 60.0


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
        self._looks: dict[int, tuple[float, Future[None]]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embedsql-builder")

    def __enter__(self) -> IndexBuilder:
        return self

    def __exit__(self, *exc: object) -> None:
        # a build that is cut short leaves an INVALID index, which the next look replaces
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._connection is not None:
            self._connection.cancel_safe()
        self._thread.shutdown()

    def look(self, index: RegisteredIndex) -> None:
        """Have the index built if it is not there; asked again within a minute, do nothing.

        Raises:
            psycopg.Error: The look before this one failed.
            ConnectionFailedError: Likewise.
        """
        now = time.monotonic()
        last, look = self._looks.get(index.index_id, (-LOOK_SECONDS, None))
        if look is not None and not look.done():
            return
        if look is not None and (error := look.exception()) is not None:
            del self._looks[index.index_id]
            raise error
        if now - last >= LOOK_SECONDS:
            self._looks[index.index_id] = (now, self._thread.submit(self._look, index))

    def is_settled(self, index: RegisteredIndex) -> bool:
        """Whether the index was looked at and nothing is being built."""
        _, look = self._looks.get(index.index_id, (0.0, None))
        return look is not None and look.done() and look.exception() is None

    def _look(self, index: RegisteredIndex) -> None:
        try:
            with self._open_connection() as self._connection:
                ensure_vector_index(self._connection, index)
        finally:
            self._connection = None
            self._woken()
