"""One index in one worker's hands: its batches, and what to do when one fails."""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psycopg

from embedsql.changelog import Backfill, Batch
from embedsql.drift import find_drift
from embedsql.errors import ConfigurationError, LeaseLostError
from embedsql.grants import missing_grants
from embedsql.ingest import Ingest, PreparedBatch
from embedsql.registry import RegisteredIndex
from embedsql.store import Failure, Outcome
from embedsql.worker.connections import said
from embedsql.worker.report import WorkerReport

log = logging.getLogger(__name__)

HINT_SECONDS = 5.0
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 300.0
LONGEST_SHORT_PAUSE = 5.0  # after a failed claim or lock, where trying again is cheap
# SQLSTATE classes of errors that pass: 25 read-only (a standby), 40 rollback (a deadlock), 53
# resources (a full disk), 55 lock not available, 57 intervention (a shutdown, a time-out)
PASSING = frozenset({"25", "40", "53", "55", "57"})


class Lane:
    """One index in one worker's hands.

    Args:
        index: The index.
        ingest: The steps of its batches.
        backfill: Claims what its change log does not speak of.
        provider: Who runs its model.
    """

    def __init__(
        self, index: RegisteredIndex, ingest: Ingest, backfill: Backfill, provider: str
    ) -> None:
        self.index = index
        self.change_log = ingest.change_log
        self.provider = provider
        self._ingest = ingest
        self._backfill = backfill
        self._hint_due = 0.0
        self._not_before = 0.0
        self._pause = FIRST_PAUSE

    def serves(self, index: RegisteredIndex) -> bool:
        """Whether declaration and state are still those that this was made for."""
        ours = self.index
        return (index.spec, index.generation, index.state) == (
            ours.spec,
            ours.generation,
            ours.state,
        )

    def ready(self) -> bool:
        """Whether it is not to be left alone just now."""
        return time.monotonic() >= self._not_before

    def claim(self, connection: psycopg.Connection, size: int) -> Batch | None:
        """The next batch of what changed."""
        try:
            if time.monotonic() >= self._hint_due:
                self.change_log.refresh_hint(connection)
                self._hint_due = time.monotonic() + HINT_SECONDS
            return self.change_log.claim(connection, size)
        except psycopg.Error as error:
            self._wait_or_raise(connection, error)
            return None

    def claim_backfill(self, connection: psycopg.Connection, size: int) -> Batch | None:
        """The next batch of what nobody logged."""
        try:
            return self._backfill.claim(connection, size)
        except psycopg.Error as error:
            self._wait_or_raise(connection, error)
            return None

    def read(self, connection: psycopg.Connection, batch: Batch) -> PreparedBatch | None:
        """A batch's texts, chunked; ``None`` where the database refused and it was given back.

        Raises:
            ConfigurationError: The index's declaration does not fit its table.
            psycopg.OperationalError: The connection is lost.
        """
        try:
            return self._ingest.prepare(connection, batch)
        except psycopg.Error as error:
            self._recover(connection, batch, error)
            return None

    def embed(self, work: Work, stopping: Callable[[], bool]) -> None:
        """Run the model on what a batch lacks; what it made and what failed is noted there.

        Raises:
            ProviderError: The provider is at fault.
            ConfigurationError: The index's declaration is.
        """
        work.failures = self._ingest.embed(work.prepared, stopping)

    def write(self, connection: psycopg.Connection, work: Work) -> Outcome | None:
        """Store a batch; whatever happens, its keys are written, parked or given back.

        Returns:
            What became of it; ``None`` where nothing was written.

        Raises:
            ConfigurationError: The index's declaration does not fit its table or model.
            psycopg.OperationalError: The connection is lost.
        """
        try:
            outcome = self._ingest.write(connection, work.prepared, work.failures)
        except LeaseLostError as error:
            log.warning("%s; another worker has its keys", error)
            return None
        except psycopg.Error as error:
            self._recover(connection, work.batch, error)
            return None
        self._pause = FIRST_PAUSE
        return outcome

    def give_back(self, connection: psycopg.Connection, work: Work) -> None:
        """Leave a batch to whoever claims next; no row is charged for it."""
        self._release(connection, work.batch)

    def count(self, outcome: Outcome, work: Work, report: WorkerReport) -> None:
        """Add a batch that was written to the report, and log it."""
        seconds = time.monotonic() - work.started
        log.info(
            "batch written",
            extra={
                "index": self.index.label,
                "rows": outcome.saved,
                "removed": outcome.gone,
                "failed": outcome.failed,
                "changed_meanwhile": outcome.changed_meanwhile,
                "embedded": work.prepared.made,
                "reused": work.prepared.reused,
                "seconds": round(seconds, 3),
            },
        )
        report.batches += 1
        report.batch_seconds += seconds
        report.saved += outcome.saved
        report.removed += outcome.gone
        report.failed += outcome.failed
        report.embedded += work.prepared.made
        report.reused += work.prepared.reused
        report.settled[self.index.label] += outcome.saved + outcome.gone

    def _recover(self, connection: psycopg.Connection, batch: Batch, error: psycopg.Error) -> None:
        """The database refused the batch: is it the table, the moment, or one row?"""
        if connection.closed:
            raise error
        # A renamed column or a lost privilege concerns the whole index. What a trigger of the
        # source raises is a ProgrammingError as well, but concerns one row.
        raised = isinstance(error, psycopg.errors.RaiseException)
        if isinstance(error, psycopg.ProgrammingError) and not raised:
            self._release(connection, batch)
            raise ConfigurationError(refusal(connection, self.index, error)) from error
        if _passes(error):
            self._release(connection, batch)
            locked = isinstance(error, psycopg.errors.LockNotAvailable)
            self._wait(error, LONGEST_SHORT_PAUSE if locked else LONGEST_PAUSE)
            return
        log.warning("a batch of %d rows was refused: %s", len(batch), said(error))
        if len(batch) == 1:
            self._ingest.park(connection, batch, error)
        else:
            self.change_log.split(connection, batch)

    def _release(self, connection: psycopg.Connection, batch: Batch) -> None:
        try:
            self.change_log.release(connection, batch)
        except (
            psycopg.errors.LockNotAvailable
        ) as error:  # the worker's other work must not wait for it
            log.warning("a batch is left to its lease: %s", said(error))

    def _wait_or_raise(self, connection: psycopg.Connection, error: psycopg.Error) -> None:
        if connection.closed or not _passes(error):
            raise error
        self._wait(error, LONGEST_SHORT_PAUSE)

    def _wait(self, error: Exception, most: float) -> None:
        """Leave the index alone for a while, longer each time; no row is charged for it."""
        seconds = min(self._pause, most) * random.uniform(0.75, 1.25)
        self._pause = min(self._pause * 2, most)
        self._not_before = time.monotonic() + seconds
        log.warning("%s waits %.1f s: %s", self.index.label, seconds, said(error))


@dataclass
class Work:
    """A batch on its way through the worker.

    Attributes:
        lane: Its index.
        prepared: Its rows and chunks; the model's vectors come in here.
        lease: Renews its lease until closed.
        started: When its work began, on the monotonic clock.
        failures: Rows that could not be embedded.
    """

    lane: Lane
    prepared: PreparedBatch
    lease: contextlib.ExitStack
    started: float
    failures: Sequence[Failure] = field(default_factory=list)

    @property
    def batch(self) -> Batch:
        """The claim."""
        return self.prepared.batch


def refusal(connection: psycopg.Connection, index: RegisteredIndex, error: psycopg.Error) -> str:
    """Why the database will not have an index's work done, with what mends it."""
    words = f"the database refuses the work on {index.label!r}: {said(error)}"
    if not isinstance(error, psycopg.errors.InsufficientPrivilege):
        return "; ".join([words, *find_drift(connection, index)])
    missing = missing_grants(connection, index.spec, "worker", index.names)
    return f"{words}; missing: {' '.join(missing)}" if missing else words


def _passes(error: psycopg.Error) -> bool:
    return (error.sqlstate or "")[:2] in PASSING
