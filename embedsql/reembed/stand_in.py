"""A worker of our own while a model change waits, where no other worker is running."""

from __future__ import annotations

import threading

import psycopg

from embedsql.worker import Worker, WorkerOptions

SILENT_SECONDS = 25.0  # workers give a sign of life every ten

_OTHERS = """
SELECT EXISTS (SELECT FROM embedsql.worker
               WHERE worker <> %s
                 AND abs(extract(epoch FROM clock_timestamp() - seen_at)) < %s)
"""


class StandIn:
    """A worker in a thread of this process, started when no other one gives a sign of life.

    Args:
        conninfo: Where the database is.
        options: Of the worker.
    """

    def __init__(self, conninfo: str, options: WorkerOptions) -> None:
        self._worker = Worker(conninfo, options)
        self._thread: threading.Thread | None = None
        self._crash: BaseException | None = None

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._thread is not None:
            self._worker.stop()
            self._thread.join()

    @property
    def works(self) -> bool:
        """Whether it was started."""
        return self._thread is not None

    def ensure(self, connection: psycopg.Connection) -> None:
        """Start the worker unless it runs or another worker does.

        Raises:
            Exception: What ended our own worker.
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
