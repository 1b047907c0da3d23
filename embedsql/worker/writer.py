"""Writes batches in threads of its own, so that the model never waits for the database."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

import psycopg
import stamina

from embedsql.errors import ConfigurationError
from embedsql.registry import RegisteredIndex
from embedsql.worker.connections import LOST
from embedsql.worker.lane import Work, refusal
from embedsql.worker.report import WorkerReport

log = logging.getLogger(__name__)

WRITERS = 2  # a live HNSW index takes most of a millisecond for each vector, of one core
BEHIND = 2  # batches that may wait to be written; the model waits then, so that memory is bounded

Job = Callable[[psycopg.Connection], None]


class Writer:
    """The last step of a batch: written and acknowledged, or given back. Two are written at a time.

    A lost connection is opened again and the step repeated: it is fenced by the batch's row, so
    that it happens once. What cannot be done in time is left to the lease.

    Args:
        open_connection: Opens a connection for each thread, at first use and after a loss.
        patience: Seconds that a step is tried for, a lease's length.
        report: Counts what is written.
        on_batch: Called after each batch, in one of the writer's threads at a time.
        woken: Called after each step.
    """

    def __init__(
        self,
        open_connection: Callable[[], psycopg.Connection],
        patience: float,
        report: WorkerReport,
        on_batch: Callable[[WorkerReport], None],
        woken: Callable[[], None],
    ) -> None:
        self.problems: queue.SimpleQueue[tuple[RegisteredIndex, str]] = queue.SimpleQueue()
        self.crash: BaseException | None = None
        self._open_connection = open_connection
        self._patience = patience
        self._report = report
        self._on_batch = on_batch
        self._woken = woken
        self._jobs: queue.Queue[tuple[Work, Job] | None] = queue.Queue(BEHIND)
        self._counting = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, name=f"embedsql-writer-{number}", daemon=True)
            for number in range(1, WRITERS + 1)
        ]

    def __enter__(self) -> Writer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def write(self, work: Work) -> None:
        """Store a batch; waits where too many are before it."""
        self._jobs.put((work, lambda connection: self._write(connection, work)))

    def give_back(self, work: Work) -> None:
        """Leave a batch to whoever claims next."""
        self._jobs.put((work, lambda connection: work.lane.give_back(connection, work)))

    def _write(self, connection: psycopg.Connection, work: Work) -> None:
        outcome = work.lane.write(connection, work)
        with self._counting:
            if outcome is not None:
                work.lane.count(outcome, work, self._report)
            self._on_batch(self._report)

    def _run(self) -> None:
        with _Connection(self._open_connection) as database:
            while (job := self._jobs.get()) is not None:
                work, step = job
                try:
                    if self.crash is None:
                        self._try(database, work, step)
                except BaseException as error:  # the main thread sees it and ends the worker
                    self.crash = error
                finally:
                    work.lease.close()
                    self._woken()

    def _try(self, database: _Connection, work: Work, step: Job) -> None:
        try:
            for attempt in stamina.retry_context(
                on=LOST, attempts=None, timeout=self._patience, wait_initial=0.02, wait_max=2
            ):
                with attempt:
                    database.use(work.lane.index, step)
        except LOST as error:
            log.warning("a batch is left to its lease: %s", error)
        except ConfigurationError as error:
            self.problems.put((work.lane.index, str(error)))


class _Connection:
    """One thread's, opened at first use and after a loss."""

    def __init__(self, open_connection: Callable[[], psycopg.Connection]) -> None:
        self._open = open_connection
        self._connection: psycopg.Connection | None = None

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._connection is not None:
            self._connection.close()

    def use(self, index: RegisteredIndex, step: Job) -> None:
        """Take a step on it."""
        if self._connection is None or self._connection.closed:
            self._connection = self._open()
        try:
            step(self._connection)
        except LOST:
            self._connection.close()
            raise
        except psycopg.ProgrammingError as error:  # a privilege lost, even to give back
            raise ConfigurationError(refusal(self._connection, index, error)) from error
