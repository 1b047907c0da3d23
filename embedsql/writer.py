"""Writes batches in a thread of its own, so that the model never waits for the database."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import psycopg

from embedsql.errors import ConfigurationError, ConnectionFailedError
from embedsql.lane import EmbeddedBatch, Lane, WorkerReport
from embedsql.registry import RegisteredIndex

log = logging.getLogger(__name__)


class Writer:
    """One batch behind the model, and never more: the next waits until this one is written.

    Args:
        open_connection: Opens a connection of its own, at first use and after a loss.
        report: Counts what is written.
        on_batch: Called after each batch, in the writer's thread.
    """

    def __init__(
        self,
        open_connection: Callable[[], psycopg.Connection],
        report: WorkerReport,
        on_batch: Callable[[WorkerReport], None],
    ) -> None:
        self._open_connection = open_connection
        self._report = report
        self._on_batch = on_batch
        self._connection: psycopg.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embedsql-writer")
        self._pending: tuple[RegisteredIndex, Future[None]] | None = None

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self.collect()
        except (psycopg.OperationalError, ConnectionFailedError) as error:
            log.warning("the last batch is left to its lease: %s", error)
        finally:
            self._thread.shutdown()
            if self._connection is not None:
                self._connection.close()

    def submit(self, lane: Lane, embedded: EmbeddedBatch) -> tuple[RegisteredIndex, str] | None:
        """Have a batch written; waits for the one before it.

        Returns:
            As ``collect``, of the one before.
        """
        try:
            return self.collect()
        finally:
            self._pending = (lane.index, self._thread.submit(self._write, lane, embedded))

    def collect(self) -> tuple[RegisteredIndex, str] | None:
        """Wait for what is being written.

        Returns:
            The index and its problem, where the batch failed by its index's configuration.

        Raises:
            psycopg.OperationalError: The connection is lost; the batch's lease runs out.
            ConnectionFailedError: No connection could be made.
        """
        if self._pending is None:
            return None
        index, written = self._pending
        self._pending = None
        try:
            written.result()
        except ConfigurationError as error:
            return index, str(error)
        return None

    def _write(self, lane: Lane, embedded: EmbeddedBatch) -> None:
        with embedded.lease:
            if self._connection is None or self._connection.closed:
                self._connection = self._open_connection()
            try:
                lane.write(self._connection, embedded, self._report)
            except psycopg.OperationalError:
                self._connection.close()
                raise
        self._on_batch(self._report)
