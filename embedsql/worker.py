"""The worker: claim, embed, write, until told to stop. Many workers may share a database."""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

import psycopg
from pgvector.psycopg import register_vector

from embedsql import registry
from embedsql.changelog import LEASE_SECONDS, Batch, ChangeLog
from embedsql.database import connect
from embedsql.declare import enqueue_existing
from embedsql.embedders import Embedder, load_embedder, options_of
from embedsql.errors import (
    ConfigurationError,
    ConnectionFailedError,
    LeaseLostError,
    ProviderError,
    SpaceMismatchError,
)
from embedsql.ingest import Ingest
from embedsql.installation import require_installed
from embedsql.leases import LeaseKeeper
from embedsql.maintenance import ensure_vector_index
from embedsql.naming import CHANNEL
from embedsql.registry import RegisteredIndex

log = logging.getLogger(__name__)

HINT_SECONDS = 5.0
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 300.0
PROBLEM_SECONDS = 60.0  # until an index with a broken configuration is looked at again
RECONNECT_SECONDS = 60.0  # how long a drain tries before it gives up


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """How a worker works.

    Attributes:
        batch_size: Keys claimed at once. Defaults to 128.
        drain: Stop when nothing is left to do. Defaults to false.
        lease: Seconds that a claim outlives its worker's last sign of life. Defaults to 30.
        poll_interval: Seconds between looks at the log when no notification comes. Defaults to 2.
        threads: Threads of a local model. Defaults to its own choice.
        api_key: For ``openai:`` models.
    """

    batch_size: int = 128
    drain: bool = False
    lease: float = LEASE_SECONDS
    poll_interval: float = 2.0
    threads: int | None = None
    api_key: str | None = None


@dataclass
class WorkerReport:
    """What a worker has done so far.

    Attributes:
        saved: Rows written, or found to be right already.
        removed: Rows whose vectors were removed, since they are gone.
        embedded: Distinct chunks that the model embedded.
        reused: Chunks whose vector was there already.
        failed: Rows that failed, each time counted.
        problems: Indexes that could not be worked on, with why.
    """

    saved: int = 0
    removed: int = 0
    embedded: int = 0
    reused: int = 0
    failed: int = 0
    problems: dict[str, str] = field(default_factory=dict)


class Worker:
    """Embeds new and changed rows of every index of a database.

    Args:
        conninfo: Where the database is.
        options: See ``WorkerOptions``.
        on_batch: Called after each batch with the report so far, for a progress display.
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
        """Finish the batch at hand and end; safe to call from a signal handler."""
        self._stopping.set()

    def run(self) -> WorkerReport:
        """Work until ``stop`` or, when draining, until nothing is left.

        Raises:
            ConnectionFailedError: At the start; later the worker reconnects, a draining one for a
                minute.
            SchemaVersionError: The database has no schema that this release works with.
        """
        connection = self._connect()
        with LeaseKeeper(self._conninfo, self._options.lease / 3) as leases:
            while not self._stopping.is_set():
                try:
                    busy = self._round(connection, leases)
                    if not busy and self._finished(connection):
                        break
                    if not busy:
                        self._wait(connection)
                except psycopg.OperationalError as error:
                    log.warning("the database went away: %s", " ".join(str(error).split()))
                    connection.close()
                    connection = self._reconnect()
        connection.close()
        return self.report

    def _connect(self) -> psycopg.Connection:
        connection = connect(self._conninfo, application_name="embedsql worker")
        require_installed(connection)
        register_vector(connection)
        connection.execute(f"LISTEN {CHANNEL}")
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

    def _round(self, connection: psycopg.Connection, leases: LeaseKeeper) -> bool:
        """One batch of each index that has work.

        Returns:
            Whether there was any.
        """
        busy = False
        for index in registry.all_indexes(connection):
            if self._stopping.is_set():
                break
            lane = self._lane(connection, index)
            if lane is None or not lane.ready():
                continue
            if index.backfill_pending:
                enqueue_existing(connection, index.spec)
            batch = lane.claim(connection, self._options.batch_size)
            if batch is None:
                ensure_vector_index(connection, index)
            else:
                self._process(connection, leases, lane, batch)
                busy = True
        return busy

    def _lane(self, connection: psycopg.Connection, index: RegisteredIndex) -> Lane | None:
        """What this worker keeps for an index; ``None`` where its configuration is broken."""
        lane = self._lanes.get(index.index_id)
        if lane is not None and lane.serves(index):
            return lane
        if time.monotonic() < self._problem_until.get(index.index_id, 0):
            return None
        try:
            embedder = self._embedder(index)
            stored = registry.adopt_space(connection, index.index_id, embedder.space.label)
            if stored != embedder.space.label:
                raise SpaceMismatchError(
                    f"the vectors of {index.spec.name!r} are of another space than the model "
                    f"gives now: stored {stored}, model {embedder.space.label}"
                )
        except ConfigurationError as error:
            self._leave_alone(connection, index, error)
            return None
        except ProviderError as error:
            log.warning("%s waits for its provider: %s", index.spec.name, error)
            self._stopping.wait(min(error.retry_after or FIRST_PAUSE, LONGEST_PAUSE))
            return None
        registry.set_problem(connection, index.index_id, None)
        self.report.problems.pop(index.spec.name, None)
        change_log = ChangeLog(index, self.name, self._options.lease)
        self._lanes[index.index_id] = lane = Lane(index, Ingest(index, embedder, change_log))
        return lane

    def _leave_alone(
        self, connection: psycopg.Connection, index: RegisteredIndex, error: ConfigurationError
    ) -> None:
        log.error("%s is left alone: %s", index.spec.name, error)
        self.report.problems[index.spec.name] = str(error)
        self._problem_until[index.index_id] = time.monotonic() + PROBLEM_SECONDS
        registry.set_problem(connection, index.index_id, str(error))

    def _embedder(self, index: RegisteredIndex) -> Embedder:
        options = options_of(
            index.spec, api_key=self._options.api_key, threads=self._options.threads
        )
        key = (index.spec.model, options)
        if key not in self._embedders:
            self._embedders[key] = load_embedder(index.spec.model, options)
        return self._embedders[key]

    def _process(
        self, connection: psycopg.Connection, leases: LeaseKeeper, lane: Lane, batch: Batch
    ) -> None:
        ingest = lane.ingest
        try:
            with leases.held(ingest.change_log, batch):
                prepared = ingest.prepare(connection, batch)
                missing = len(prepared.missing())
                failures = ingest.embed(prepared)
                outcome = ingest.write(connection, prepared, failures)
        except LeaseLostError as error:
            log.warning("%s; another worker has its keys", error)
            return
        except ProviderError as error:
            ingest.change_log.release(connection, batch)
            lane.pause(error)
            return
        except ConfigurationError as error:
            ingest.change_log.release(connection, batch)
            del self._lanes[lane.index.index_id]
            self._leave_alone(connection, lane.index, error)
            return
        lane.resume()
        self.report.saved += outcome.saved
        self.report.removed += outcome.gone
        self.report.failed += outcome.failed
        self.report.embedded += missing
        self.report.reused += prepared.reused
        self._on_batch(self.report)

    def _finished(self, connection: psycopg.Connection) -> bool:
        """Whether a draining worker may go: nothing logged, leased or waiting to be retried."""
        if not self._options.drain:
            return False
        for index in registry.all_indexes(connection):
            if index.spec.name in self.report.problems:
                continue
            lane = self._lanes.get(index.index_id)
            if lane is None or not lane.ingest.change_log.is_empty(connection):
                return False
        return True

    def _wait(self, connection: psycopg.Connection) -> None:
        """Until a trigger notifies, or the poll interval is over, or the worker is to stop."""
        interval = min(self._options.poll_interval, 0.2) if self._options.drain else None
        deadline = time.monotonic() + (interval or self._options.poll_interval)
        while not self._stopping.is_set() and (left := deadline - time.monotonic()) > 0:
            for _ in connection.notifies(timeout=min(left, 0.5), stop_after=1):
                return


class Lane:
    """One index in one worker's hands."""

    def __init__(self, index: RegisteredIndex, ingest: Ingest) -> None:
        self.index = index
        self.ingest = ingest
        self._hint_due = 0.0
        self._not_before = 0.0
        self._pause = FIRST_PAUSE

    def serves(self, index: RegisteredIndex) -> bool:
        """Whether the declaration is still the one this was made for."""
        return (index.spec, index.generation) == (self.index.spec, self.index.generation)

    def claim(self, connection: psycopg.Connection, size: int) -> Batch | None:
        """The next batch."""
        if time.monotonic() >= self._hint_due:
            self.ingest.change_log.refresh_hint(connection)
            self._hint_due = time.monotonic() + HINT_SECONDS
        return self.ingest.change_log.claim(connection, size)

    def ready(self) -> bool:
        """Whether the provider is not to be left alone just now."""
        return time.monotonic() >= self._not_before

    def pause(self, error: ProviderError) -> None:
        """Leave the provider alone for a while, longer each time; no row is charged for it."""
        seconds = error.retry_after or self._pause * random.uniform(0.75, 1.25)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        self._not_before = time.monotonic() + seconds
        log.warning("%s waits %.1f s: %s", self.index.spec.name, seconds, error)

    def resume(self) -> None:
        """The provider works again."""
        self._pause = FIRST_PAUSE
