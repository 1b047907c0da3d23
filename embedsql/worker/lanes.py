"""The indexes in one worker's hands: their models, and those that are left alone for a while."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

import psycopg

from embedsql import registry
from embedsql.catalog import hides_rows
from embedsql.changelog import Backfill, Batch, ChangeLog
from embedsql.embedders import Embedder, load_embedder, options_of
from embedsql.errors import ConfigurationError, ProviderError, SpaceMismatchError
from embedsql.ingest import Ingest, Unwritten
from embedsql.registry import RegisteredIndex, UnreadableIndex
from embedsql.worker.lane import FIRST_PAUSE, LONGEST_PAUSE, Lane
from embedsql.worker.report import WorkerReport

log = logging.getLogger(__name__)

PROBLEM_SECONDS = 60.0  # until an index with a broken configuration is looked at again


class Lanes:
    """Makes a lane for each index, once its model is loaded.

    Args:
        worker: The worker's name.
        report: Where problems are noted.
        lease: Seconds that a claim is valid.
        threads: Of a local model; ``None``: its own choice.
        api_key: For ``openai:`` models.
    """

    def __init__(
        self,
        worker: str,
        report: WorkerReport,
        *,
        lease: float,
        threads: int | None,
        api_key: str | None,
    ) -> None:
        self._worker = worker
        self._report = report
        self._lease = lease
        self._threads = threads
        self._api_key = api_key
        self._embedders: dict[tuple[object, ...], Embedder] = {}
        self._lanes: dict[int, Lane] = {}
        self._not_before: dict[int, float] = {}
        self._troubles: dict[int, str] = {}
        self._readability_due = 0.0
        self._unwritten = defaultdict[tuple[str, str], Unwritten](Unwritten)

    def get(self, connection: psycopg.Connection, index: RegisteredIndex) -> Lane | None:
        """What this worker keeps for an index; ``None`` where it is left alone for now.

        Raises:
            ConfigurationError: The model cannot be loaded, or is of another space than the index.
        """
        if time.monotonic() < self._not_before.get(index.index_id, 0):
            return None
        lane = self._lanes.get(index.index_id)
        if lane is None or not lane.serves(index):
            lane = self._make(connection, index)
        return lane

    def known(self, index: RegisteredIndex) -> Lane | None:
        """The lane of an index, if it was made."""
        return self._lanes.get(index.index_id)

    def leave_alone(
        self,
        connection: psycopg.Connection,
        index: RegisteredIndex | UnreadableIndex,
        problem: str,
    ) -> None:
        """Look at an index again in a minute; its configuration is at fault, or it was dropped."""
        if not registry.is_kept(connection, index.index_id):
            self._lanes.pop(index.index_id, None)
            return
        log.error("%s is left alone: %s", index.label, problem)
        self._report.problems[index.label] = problem
        self._not_before[index.index_id] = time.monotonic() + PROBLEM_SECONDS
        self._lanes.pop(index.index_id, None)
        registry.set_problem(connection, index.index_id, problem)

    def leave_unreadable(self, connection: psycopg.Connection) -> None:
        """Leave alone what another release declared, and say so, once a minute."""
        if time.monotonic() < self._readability_due:
            return
        self._readability_due = time.monotonic() + PROBLEM_SECONDS
        for index in registry.unreadable_indexes(connection):
            self.leave_alone(connection, index, index.problem)

    def show_trouble(
        self, connection: psycopg.Connection, index: RegisteredIndex, trouble: str | None
    ) -> None:
        """Let ``status`` say that an index waits for its provider, or that nothing is wrong.

        Args:
            connection: In autocommit mode.
            index: One with a lane.
            trouble: The provider's last words, until it gives vectors again.
        """
        if trouble is None:
            self._troubles.pop(index.index_id, None)
            if index.problem is not None:
                registry.set_problem(connection, index.index_id, None)
        elif trouble != self._troubles.get(index.index_id):
            # Written once only: another worker, whose provider answers, may have cleared it since.
            self._troubles[index.index_id] = trouble
            registry.set_problem(connection, index.index_id, f"waiting for the provider: {trouble}")

    def release_strays(
        self, connection: psycopg.Connection, held: Callable[[ChangeLog], Sequence[Batch]]
    ) -> None:
        """Give back what a broken connection claimed without our knowing.

        Args:
            connection: In autocommit mode.
            held: The batches of a change log that this worker knows of.
        """
        for index_id, lane in list(self._lanes.items()):
            known = [batch.batch_id for batch in held(lane.change_log)]
            try:
                lane.change_log.release_strays(connection, known)
            except psycopg.errors.UndefinedTable:  # dropped since
                del self._lanes[index_id]

    def _make(self, connection: psycopg.Connection, index: RegisteredIndex) -> Lane | None:
        try:
            embedder = self._embedder(index)
        except ProviderError as error:
            seconds = min(error.retry_after or FIRST_PAUSE, LONGEST_PAUSE)
            log.warning("%s waits for its provider: %s", index.label, error)
            self.show_trouble(connection, index, str(error))
            self._not_before[index.index_id] = time.monotonic() + seconds
            return None
        stored = registry.adopt_space(connection, index.index_id, embedder.space.label)
        if stored is None:
            self._not_before[index.index_id] = time.monotonic() + FIRST_PAUSE
            return None
        if stored != embedder.space.label:
            raise SpaceMismatchError(
                f"the vectors of {index.label!r} are of another space than the model "
                f"gives now: stored {stored}, model {embedder.space.label}"
            )
        if hides_rows(connection, index.spec):  # from the log, too: they would be missed silently
            raise ConfigurationError(
                f"row-level security of {index.spec.schema}.{index.spec.table} hides rows from "
                "this role, and a worker must see every row: ALTER ROLE … BYPASSRLS"
            )
        registry.set_problem(connection, index.index_id, None)
        self._report.problems.pop(index.label, None)
        change_log = ChangeLog(index, self._worker, self._lease)
        lane = Lane(
            index,
            Ingest(
                index,
                embedder,
                change_log,
                registry.find_of_space(connection, index, stored),
                self._unwritten[stored, index.spec.vectors.exactness],
            ),
            Backfill(index, self._worker, self._lease),
            embedder.provider,
        )
        self._lanes[index.index_id] = lane
        return lane

    def _embedder(self, index: RegisteredIndex) -> Embedder:
        options = options_of(index.spec, api_key=self._api_key, threads=self._threads)
        key = (index.spec.model, options)
        if key not in self._embedders:
            self._embedders[key] = load_embedder(index.spec.model, options)
        return self._embedders[key]
