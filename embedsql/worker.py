"""The worker: claim, embed, write, until told to stop. Many workers may share a database."""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

import psycopg
from pgvector.psycopg import register_vector

from embedsql import registry
from embedsql.changelog import LEASE_SECONDS, ChangeLog
from embedsql.database import connect
from embedsql.declare import enqueue_existing
from embedsql.embedders import Embedder, load_embedder, options_of
from embedsql.errors import (
    ConfigurationError,
    ConnectionFailedError,
    ProviderError,
    SpaceMismatchError,
)
from embedsql.ingest import Ingest
from embedsql.installation import require_installed
from embedsql.lane import FIRST_PAUSE, LONGEST_PAUSE, Lane, WorkerReport, said
from embedsql.leases import LeaseKeeper
from embedsql.maintenance import ensure_vector_index
from embedsql.naming import CHANNEL
from embedsql.registry import RegisteredIndex
from embedsql.writer import Writer

log = logging.getLogger(__name__)

PROBLEM_SECONDS = 60.0  # until an index with a broken configuration is looked at again
RECONNECT_SECONDS = 60.0  # how long a drain tries before it gives up
DRAIN_POLL_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """How a worker works.

    Attributes:
        batch_size: Keys claimed at once; their texts are embedded in order of length, which is
            the faster the more there are. Defaults to 256.
        drain: Stop when nothing is left to do. Defaults to false.
        lease: Seconds that a claim outlives its worker's last sign of life. Defaults to 30.
        poll_interval: Seconds between looks at the log when no notification comes. Defaults to 2.
        threads: Threads of a local model. Defaults to its own choice.
        api_key: For ``openai:`` models.
    """

    batch_size: int = 256
    drain: bool = False
    lease: float = LEASE_SECONDS
    poll_interval: float = 2.0
    threads: int | None = None
    api_key: str | None = None


class Worker:
    """Embeds new and changed rows of every index of a database.

    Args:
        conninfo: Where the database is.
        options: See ``WorkerOptions``.
        on_batch: Called after each batch with the report so far, for a progress display; in the
            writer's thread.
    """

    def __init__(
        self,
        conninfo: str,
        options: WorkerOptions | None = None,
        on_batch: Callable[[WorkerReport], None] = lambda report: None,
    ) -> None:
        self.report = WorkerReport()
        self.name = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:6]}"
        self._conninfo = conninfo
        self._options = options or WorkerOptions()
        self._on_batch = on_batch
        self._stopping = threading.Event()
        self._embedders: dict[tuple[object, ...], Embedder] = {}
        self._lanes: dict[int, Lane] = {}
        self._problem_until: dict[int, float] = {}

    def stop(self) -> None:
        """Write what is embedded, give the rest back and end; safe in a signal handler."""
        self._stopping.set()

    def run(self) -> WorkerReport:
        """Work until ``stop`` or, when draining, until nothing is left.

        Raises:
            ConnectionFailedError: At the start; later the worker reconnects, a draining one for a
                minute.
            SchemaVersionError: The database has no schema that this release works with.
        """
        connection = self._connect()
        try:
            with (
                LeaseKeeper(self._conninfo, self._options.lease / 3) as leases,
                Writer(self._open, self.report, self._on_batch) as writer,
            ):
                while not self._stopping.is_set():
                    try:
                        if self._round(connection, leases, writer):
                            continue
                        self._note(connection, writer.collect())
                        if self._finished(connection):
                            break
                        self._wait(connection)
                    except (psycopg.OperationalError, ConnectionFailedError) as error:
                        log.warning("the database went away: %s", said(error))
                        connection.close()
                        connection = self._reconnect()
        finally:
            connection.close()
        return self.report

    def _open(self) -> psycopg.Connection:
        connection = connect(self._conninfo, application_name="embedsql worker")
        try:
            require_installed(connection)
            register_vector(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> psycopg.Connection:
        connection = self._open()
        try:
            connection.execute(f"LISTEN {CHANNEL}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _reconnect(self) -> psycopg.Connection:
        deadline = time.monotonic() + RECONNECT_SECONDS
        pause = FIRST_PAUSE
        while True:
            try:
                return self._connect()
            except (ConnectionFailedError, psycopg.OperationalError):
                late = self._options.drain and time.monotonic() > deadline
                if late or self._stopping.wait(pause * random.uniform(0.5, 1.0)):
                    raise
                pause = min(pause * 2, 30)

    def _round(self, connection: psycopg.Connection, leases: LeaseKeeper, writer: Writer) -> bool:
        """One batch of each index that has work.

        Returns:
            Whether there was any.
        """
        busy = False
        for index in registry.all_indexes(connection):
            if self._stopping.is_set():
                break
            try:
                busy |= self._serve(connection, leases, writer, index)
            except ConfigurationError as error:
                self._leave_alone(connection, index, str(error))
            except psycopg.ProgrammingError as error:  # its table or our own are not as declared
                self._leave_alone(connection, index, said(error))
        return busy

    def _serve(
        self,
        connection: psycopg.Connection,
        leases: LeaseKeeper,
        writer: Writer,
        index: RegisteredIndex,
    ) -> bool:
        """One batch of one index, or its vector index where nothing is logged.

        Returns:
            Whether there was a batch.
        """
        lane = self._lane(connection, index)
        if lane is None or not lane.ready():
            return False
        if index.backfill_pending:
            enqueue_existing(connection, index.spec)
        batch = lane.claim(connection, self._options.batch_size)
        if batch is None:
            self._note(connection, writer.collect())
            ensure_vector_index(connection, index)
            return False
        embedded = lane.embed(connection, leases, batch, self._stopping.is_set)
        if embedded is not None:
            self._note(connection, writer.submit(lane, embedded))
        return True

    def _note(
        self, connection: psycopg.Connection, problem: tuple[RegisteredIndex, str] | None
    ) -> None:
        if problem is not None:
            self._leave_alone(connection, *problem)

    def _lane(self, connection: psycopg.Connection, index: RegisteredIndex) -> Lane | None:
        """What this worker keeps for an index; ``None`` where it is left alone for now.

        Raises:
            ConfigurationError: The model is not to be had, or not of the index's space.
        """
        if time.monotonic() < self._problem_until.get(index.index_id, 0):
            return None
        lane = self._lanes.get(index.index_id)
        if lane is not None and lane.serves(index):
            return lane
        try:
            embedder = self._embedder(index)
        except ProviderError as error:
            log.warning("%s waits for its provider: %s", index.spec.name, error)
            self._stopping.wait(min(error.retry_after or FIRST_PAUSE, LONGEST_PAUSE))
            return None
        stored = registry.adopt_space(connection, index.index_id, embedder.space.label)
        if stored != embedder.space.label:
            raise SpaceMismatchError(
                f"the vectors of {index.spec.name!r} are of another space than the model "
                f"gives now: stored {stored}, model {embedder.space.label}"
            )
        registry.set_problem(connection, index.index_id, None)
        self.report.problems.pop(index.spec.name, None)
        change_log = ChangeLog(index, self.name, self._options.lease)
        self._lanes[index.index_id] = lane = Lane(index, Ingest(index, embedder, change_log))
        return lane

    def _embedder(self, index: RegisteredIndex) -> Embedder:
        options = options_of(
            index.spec, api_key=self._options.api_key, threads=self._options.threads
        )
        key = (index.spec.model, options)
        if key not in self._embedders:
            self._embedders[key] = load_embedder(index.spec.model, options)
        return self._embedders[key]

    def _leave_alone(
        self, connection: psycopg.Connection, index: RegisteredIndex, problem: str
    ) -> None:
        log.error("%s is left alone: %s", index.spec.name, problem)
        self.report.problems[index.spec.name] = problem
        self._problem_until[index.index_id] = time.monotonic() + PROBLEM_SECONDS
        self._lanes.pop(index.index_id, None)
        registry.set_problem(connection, index.index_id, problem)

    def _finished(self, connection: psycopg.Connection) -> bool:
        """Whether a draining worker may go: nothing logged, leased or waiting to be retried."""
        if not self._options.drain:
            return False
        for index in registry.all_indexes(connection):
            if index.spec.name in self.report.problems:
                continue
            lane = self._lanes.get(index.index_id)
            if lane is None or not lane.change_log.is_empty(connection):
                return False
        return True

    def _wait(self, connection: psycopg.Connection) -> None:
        """Until a trigger notifies, or the poll interval is over, or the worker is to stop."""
        interval = self._options.poll_interval
        if self._options.drain:
            interval = min(interval, DRAIN_POLL_SECONDS)
        deadline = time.monotonic() + interval
        while not self._stopping.is_set() and (left := deadline - time.monotonic()) > 0:
            for _ in connection.notifies(timeout=min(left, 0.5), stop_after=1):
                return
