"""The worker: claim, embed, write, until told to stop. Many workers may share a database.

The main thread claims and reads ahead; models run in a thread for each provider (``station``), two
threads write (``writer``), one keeps leases alive (``leases``), one builds indexes
(``index_builder``). A batch passes from one to the next, and no connection is shared.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from uuid import uuid4

import psycopg

from embedsql import registry
from embedsql.changelog import Batch
from embedsql.errors import ConfigurationError
from embedsql.registry import RegisteredIndex
from embedsql.worker.answerer import Answerer
from embedsql.worker.connections import LOST, open_connection, open_listening, said
from embedsql.worker.heartbeat import Heartbeat
from embedsql.worker.index_builder import IndexBuilder
from embedsql.worker.lane import Lane, Work, refusal
from embedsql.worker.lanes import Lanes
from embedsql.worker.leases import LeaseKeeper
from embedsql.worker.options import WorkerOptions
from embedsql.worker.outage import Outage
from embedsql.worker.report import WorkerReport
from embedsql.worker.station import Station
from embedsql.worker.waker import Waker
from embedsql.worker.writer import Writer

log = logging.getLogger(__name__)

DRAIN_POLL_SECONDS = 0.2
# After work: a change that was committed just behind the last look may have sent no NOTIFY.
FIRST_POLL_SECONDS = 0.05


class Worker:
    """Embeds new and changed rows of every index of a database.

    Args:
        conninfo: Where the database is.
        options: See ``WorkerOptions``.
        on_batch: Called after each batch with the report so far, for a progress display; in
            one of the writer's threads at a time.
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
        self._waker = Waker()
        self._interval = FIRST_POLL_SECONDS
        self._stations: dict[str, Station] = {}
        self._lanes = Lanes(
            self.name,
            self.report,
            lease=self._options.lease,
            threads=self._options.threads,
            api_key=self._options.api_key,
        )

    def stop(self) -> None:
        """Write what is embedded, give the rest back and end; safe in a signal handler."""
        self._stopping.set()
        self._waker.wake()

    def run(self) -> WorkerReport:
        """Work until ``stop`` or, when draining, until nothing is left.

        Raises:
            ConnectionFailedError: At the start; later the worker reconnects, a draining one for a
                minute.
            SchemaVersionError: The database has no schema (any more) that this release works with.
        """
        woken = self._waker.wake
        opened = partial(open_connection, self._conninfo)
        heartbeat = Heartbeat(self.name, self.report)
        with (
            self._waker,
            contextlib.closing(open_listening(self._conninfo)) as connection,
            LeaseKeeper(opened, self._options.lease / 3, heartbeat) as self._leases,
            IndexBuilder(opened, woken) as self._builder,
            Writer(opened, self._options.lease, self.report, self._on_batch, woken) as self._writer,
            self._answering(),
        ):
            try:
                self._work(connection)
            finally:
                for station in self._stations.values():
                    station.close()
                self._stations.clear()
        return self.report

    def _answering(self) -> contextlib.AbstractContextManager[object]:
        options = self._options
        if options.drain or not options.queries:
            return contextlib.nullcontext()
        return Answerer(self._conninfo, api_key=options.api_key, threads=options.threads)

    def _work(self, connection: psycopg.Connection) -> None:
        outage = Outage(self._stopping, bounded=self._options.drain)
        try:
            while not self._stopping.is_set():
                try:
                    busy = self._round(connection)
                    outage.is_over()
                    if busy:
                        self._interval = FIRST_POLL_SECONDS
                        continue
                    if self._finished(connection):
                        break
                    self._wait(connection)
                except (*LOST, psycopg.errors.UndefinedTable) as error:  # or all tables of ours
                    log.warning("the database went away: %s", said(error))
                    connection.close()
                    connection = self._reconnect(outage, error)
        except LOST:
            if not self._stopping.is_set():
                raise
        finally:
            connection.close()

    def _reconnect(self, outage: Outage, error: Exception) -> psycopg.Connection:
        while True:
            outage.wait_out(error)
            try:
                connection = open_listening(self._conninfo)
                self._lanes.release_strays(connection, self._leases.batches)
                return connection
            except LOST as again:
                error = again

    def _round(self, connection: psycopg.Connection) -> bool:
        """One batch of each index that has work and whose provider has room.

        Returns:
            Whether there was any.
        """
        self._raise_crashes()
        while not self._writer.problems.empty():
            self._lanes.leave_alone(connection, *self._writer.problems.get())
        self._lanes.leave_unreadable(connection)
        busy = False
        for index in registry.all_indexes(connection):
            if self._stopping.is_set():
                break
            try:
                busy |= self._serve(connection, index)
            except ConfigurationError as error:
                self._lanes.leave_alone(connection, index, str(error))
            except (psycopg.ProgrammingError, psycopg.DataError) as error:
                # its table or ours is not as declared, or its keys do not survive the way as texts
                self._lanes.leave_alone(connection, index, refusal(connection, index, error))
        return busy

    def _serve(self, connection: psycopg.Connection, index: RegisteredIndex) -> bool:
        """A batch of what changed, else one of a backfill, else a look at the vector index.

        Returns:
            Whether there was a batch.
        """
        lane = self._lanes.get(connection, index)
        if lane is None or not lane.ready():
            return False
        station = self._station(lane.provider)
        self._lanes.show_trouble(connection, index, station.trouble)
        if not station.ready():
            return False
        size = self._options.batch_size
        # all work on a generation that does not serve has the low priority of a backfill
        if station.has_room(backfill=index.aside):
            batch = lane.claim(connection, size)
            if batch is not None:
                return self._hand_over(connection, lane, batch, backfill=index.aside)
            if not lane.ready():
                return False
        if index.backfilling:
            if station.has_room(backfill=True):
                batch = lane.claim_backfill(connection, size)
                if batch is not None:
                    return self._hand_over(connection, lane, batch, backfill=True)
            return False
        busy = bool(self._leases.batches(lane.change_log))
        self._builder.look(index, self.report.saved, busy=busy)
        return False

    def _hand_over(
        self, connection: psycopg.Connection, lane: Lane, batch: Batch, *, backfill: bool
    ) -> bool:
        """Read a claimed batch and give it to where its model runs."""
        started = time.monotonic()
        with contextlib.ExitStack() as lease:
            lease.enter_context(self._leases.held(lane.change_log, batch))
            prepared = lane.read(connection, batch)
            if prepared is not None:
                work = Work(lane, prepared, lease.pop_all(), started)
                self._station(lane.provider).give(work, backfill=backfill)
        return True

    def _station(self, provider: str) -> Station:
        if provider not in self._stations:
            self._stations[provider] = Station(provider, self._writer, self._waker.wake)
        return self._stations[provider]

    def _raise_crashes(self) -> None:
        crashes = [self._writer.crash, *(one.crash for one in self._stations.values())]
        for crash in filter(None, crashes):
            raise crash

    def _finished(self, connection: psycopg.Connection) -> bool:
        """Whether a draining worker may go: nothing logged, leased or waiting to be retried."""
        if not self._options.drain or self._leases.batches():
            return False
        for index in registry.all_indexes(connection):
            if index.label in self.report.problems:
                continue
            lane = self._lanes.known(index)
            if lane is None or not lane.change_log.is_empty(connection):
                return False
            if (refused := self._builder.refusal(index)) is not None:
                self.report.problems[index.label] = refused
            elif not self._builder.is_settled(index, self.report.saved):
                return False
        return True

    def _wait(self, connection: psycopg.Connection) -> None:
        """Until a trigger notifies, a thread has room, or the poll interval is over."""
        most = self._options.poll_interval
        if self._options.drain:
            most = min(most, DRAIN_POLL_SECONDS)
        self._waker.wait(connection, min(self._interval, most))
        self._interval = min(self._interval * 2, most)
