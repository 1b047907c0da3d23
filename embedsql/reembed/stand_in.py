"""Somebody who embeds while a change waits: workers that run already, else one of our own."""

from __future__ import annotations

import threading

import psycopg

from embedsql.worker import Worker, WorkerOptions

SILENT_SECONDS = 25.0  # a worker says every ten that it lives

_OTHERS = """
SELECT EXISTS (SELECT FROM embedsql.worker
               WHERE worker <> %s AND seen_at > clock_timestamp() - %s * interval '1 second')
"""


class Hands:
    """A worker in a thread of this process, from when it is seen that no other lives.

    Args:
        conninfo: Where the database is.
        options: Of the worker.
    """

    def __init__(self, conninfo: str, options: WorkerOptions) -> None:
        self._worker = Worker(conninfo, options)
        self._thread: threading.Thread | None = None
        self._crash: BaseException | None = None

    def __enter__(self) -> Hands:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._thread is not None:
            self._worker.stop()
            self._thread.join()

    @property
    def own(self) -> bool:
        """Whether the worker is our own."""
        return self._thread is not None

    def ensure(self, connection: psycopg.Connection) -> None:
        """See to it that somebody works.

        Raises:
            Exception: Our own worker came to grief, with this.
        """
        if self._crash is not None:
            raise self._crash
        if self._thread is not None:
            return
        others = connection.execute(_OTHERS, [self._worker.name, SILENT_SECONDS]).fetchone()
        if others is None or not others[0]:
            self._thread = threading.Thread(target=self._run, name="embedsql-reembed", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            self._worker.run()
        except BaseException as error:  # raised again where the change waits
            self._crash = error
