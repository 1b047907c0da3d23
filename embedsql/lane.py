"""One index in one worker's hands: its batches, and what to do when one fails."""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psycopg

from embedsql.changelog import Batch
from embedsql.errors import ConfigurationError, LeaseLostError, ProviderError
from embedsql.grants import missing_grants
from embedsql.ingest import Ingest, PreparedBatch
from embedsql.leases import LeaseKeeper
from embedsql.registry import RegisteredIndex
from embedsql.store import Failure, Outcome

log = logging.getLogger(__name__)

HINT_SECONDS = 5.0
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 300.0
# SQLSTATE classes of troubles that pass: rollback, resources, lock not available, intervention
PASSING = frozenset({"40", "53", "55", "57"})


@dataclass
class WorkerReport:
    """What a worker has done so far.

    Attributes:
        saved: Rows written, or found to be right already.
        removed: Rows whose vectors were removed, since they are gone.
        embedded: Distinct chunks that the model embedded.
        reused: Chunks whose vector was there already.
        failed: Rows that failed, each time counted.
        batches: Batches worked off.
        batch_seconds: Seconds spent on them.
        problems: Indexes that could not be worked on, with why.
    """

    saved: int = 0
    removed: int = 0
    embedded: int = 0
    reused: int = 0
    failed: int = 0
    batches: int = 0
    batch_seconds: float = 0.0
    problems: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EmbeddedBatch:
    """A batch that the model has done with.

    Attributes:
        prepared: Its rows, chunks and vectors.
        failures: Rows that could not be embedded.
        made: Distinct chunks that the model embedded.
        started: When its work began, on the monotonic clock.
        lease: Renews its lease until closed.
    """

    prepared: PreparedBatch
    failures: Sequence[Failure]
    made: int
    started: float
    lease: contextlib.ExitStack


class Lane:
    """One index in one worker's hands."""

    def __init__(self, index: RegisteredIndex, ingest: Ingest) -> None:
        self.index = index
        self.change_log = ingest.change_log
        self._ingest = ingest
        self._hint_due = 0.0
        self._not_before = 0.0
        self._pause = FIRST_PAUSE

    def serves(self, index: RegisteredIndex) -> bool:
        """Whether the declaration is still the one this was made for."""
        return (index.spec, index.generation) == (self.index.spec, self.index.generation)

    def ready(self) -> bool:
        """Whether it is not to be left alone just now."""
        return time.monotonic() >= self._not_before

    def claim(self, connection: psycopg.Connection, size: int) -> Batch | None:
        """The next batch."""
        if time.monotonic() >= self._hint_due:
            self.change_log.refresh_hint(connection)
            self._hint_due = time.monotonic() + HINT_SECONDS
        return self.change_log.claim(connection, size)

    def embed(
        self,
        connection: psycopg.Connection,
        leases: LeaseKeeper,
        batch: Batch,
        stopping: Callable[[], bool],
    ) -> EmbeddedBatch | None:
        """Read a batch's texts and run the model.

        Returns:
            What is to be written; ``None`` where the batch was given back.

        Raises:
            ConfigurationError: The index's declaration does not fit its table or model.
            psycopg.OperationalError: The connection is lost; the lease runs out by itself.
        """
        started = time.monotonic()
        with contextlib.ExitStack() as lease:
            lease.enter_context(leases.held(self.change_log, batch))
            try:
                prepared = self._ingest.prepare(connection, batch)
                stored = len(prepared.vectors)
                failures = self._ingest.embed(prepared, stopping)
            except ProviderError as error:
                self.change_log.release(connection, batch)
                self._wait(error, error.retry_after)
                return None
            except ConfigurationError:
                self.change_log.release(connection, batch)
                raise
            except psycopg.Error as error:
                self._recover(connection, batch, error)
                return None
            made = len(prepared.vectors) - stored
            return EmbeddedBatch(prepared, failures, made, started, lease.pop_all())
        return None

    def write(
        self, connection: psycopg.Connection, embedded: EmbeddedBatch, report: WorkerReport
    ) -> None:
        """Store a batch; whatever happens, its keys are written, parked or given back.

        Raises:
            ConfigurationError: The index's declaration does not fit its table or model.
            psycopg.OperationalError: The connection is lost; the lease runs out by itself.
        """
        prepared = embedded.prepared
        try:
            outcome = self._ingest.write(connection, prepared, embedded.failures)
        except LeaseLostError as error:
            log.warning("%s; another worker has its keys", error)
        except psycopg.Error as error:
            self._recover(connection, prepared.batch, error)
        else:
            self._pause = FIRST_PAUSE
            self._count(outcome, embedded, report)

    def _count(self, outcome: Outcome, embedded: EmbeddedBatch, report: WorkerReport) -> None:
        seconds = time.monotonic() - embedded.started
        reused = embedded.prepared.reused
        log.info(
            "batch written",
            extra={
                "index": self.index.spec.name,
                "rows": outcome.saved,
                "removed": outcome.gone,
                "failed": outcome.failed,
                "changed_meanwhile": outcome.changed_meanwhile,
                "embedded": embedded.made,
                "reused": reused,
                "seconds": round(seconds, 3),
            },
        )
        report.batches += 1
        report.batch_seconds += seconds
        report.saved += outcome.saved
        report.removed += outcome.gone
        report.failed += outcome.failed
        report.embedded += embedded.made
        report.reused += reused

    def _recover(self, connection: psycopg.Connection, batch: Batch, error: psycopg.Error) -> None:
        """The database refused the batch: is it the table, the moment, or one row?"""
        if connection.closed:
            raise error
        if isinstance(error, psycopg.ProgrammingError):  # a column renamed, a privilege lost, …
            self.change_log.release(connection, batch)
            words = f"the database refuses the work on {self.index.spec.name!r}: {said(error)}"
            if isinstance(error, psycopg.errors.InsufficientPrivilege):
                missing = missing_grants(connection, self.index.spec, "worker", self.index.names)
                words += "; missing: " + " ".join(missing) if missing else ""
            raise ConfigurationError(words) from error
        if (error.sqlstate or "")[:2] in PASSING:
            self.change_log.release(connection, batch)
            self._wait(error, None)
            return
        log.warning("a batch of %d rows was refused: %s", len(batch.keys), said(error))
        if len(batch.keys) == 1:
            self._ingest.park(connection, batch, error)
        else:
            self.change_log.split(connection, batch)

    def _wait(self, error: Exception, seconds: float | None) -> None:
        """Leave the index alone for a while, longer each time; no row is charged for it."""
        seconds = seconds or self._pause * random.uniform(0.75, 1.25)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        self._not_before = time.monotonic() + seconds
        log.warning("%s waits %.1f s: %s", self.index.spec.name, seconds, said(error))


def said(error: Exception) -> str:
    """An error's words in one line, with the hint of the database where it has one."""
    hint = error.diag.message_hint if isinstance(error, psycopg.Error) else None
    words = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    if isinstance(error, psycopg.errors.InsufficientPrivilege) and hint is None:
        # the place in the server's source, since its words come in many languages
        if error.diag.source_function == "check_enable_rls":
            hint = "a worker must see every row: ALTER ROLE … BYPASSRLS"
        else:
            hint = "the owner mends it: embedsql grant worker ROLE"
    return " ".join((words or str(error)).split()) + (f" ({hint})" if hint else "")
