"""A worker's Prometheus metrics: its own counts, and the queue as it is when asked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import psycopg
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from embedsql import status
from embedsql.database import connect
from embedsql.errors import ConfigurationError, ConnectionFailedError
from embedsql.status import QueueStatus
from embedsql.worker.report import WorkerReport

log = logging.getLogger(__name__)

_COUNTS: dict[str, tuple[str, Callable[[WorkerReport], float]]] = {
    "embedsql_rows_saved": ("Rows written, or found right.", lambda report: report.saved),
    "embedsql_rows_removed": ("Rows whose vectors were removed.", lambda report: report.removed),
    "embedsql_rows_failed": ("Rows that failed, each time.", lambda report: report.failed),
    "embedsql_chunks_embedded": ("Chunks through the model.", lambda report: report.embedded),
    "embedsql_chunks_reused": ("Chunks with a stored vector.", lambda report: report.reused),
    "embedsql_batches": ("Batches worked off.", lambda report: report.batches),
    "embedsql_batch_seconds": ("Seconds spent on batches.", lambda report: report.batch_seconds),
}
_GAUGES: dict[str, tuple[str, Callable[[QueueStatus], float]]] = {
    "embedsql_pending_rows": (
        "Rows that wait; estimated while a backfill goes on.",
        lambda index: index.pending,
    ),
    "embedsql_leased_rows": ("Rows in a worker's hands.", lambda index: index.leased),
    "embedsql_dead_rows": ("Dead letters.", lambda index: index.dead),
    "embedsql_oldest_pending_seconds": (
        "Age of the oldest change that waits.",
        lambda index: index.oldest_pending_seconds or 0,
    ),
    "embedsql_index_broken": (
        "1 where workers leave the index alone, or wait for its provider.",
        lambda index: index.problem is not None,
    ),
}


class WorkerMetrics(Collector):
    """Collected at each scrape; the queue is read over a connection that lives no longer.

    Args:
        conninfo: Where the database is.
        report: The worker's counts.
    """

    def __init__(self, conninfo: str, report: WorkerReport) -> None:
        self._conninfo = conninfo
        self._report = report

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now; without the queue where the database does not answer."""
        for name, (meaning, count) in _COUNTS.items():
            yield CounterMetricFamily(name, meaning, value=count(self._report))
        try:
            with connect(self._conninfo, application_name="embedsql metrics") as connection:
                indexes = status.queue_status(connection)
        except (ConnectionFailedError, psycopg.Error) as error:
            log.warning("the queue cannot be measured: %s", error)
            return
        for name, (meaning, gauge) in _GAUGES.items():
            family = GaugeMetricFamily(name, meaning, labels=["index"])
            for index in indexes:
                family.add_metric([index.index], gauge(index))
            yield family


def serve_metrics(port: int, conninfo: str, report: WorkerReport) -> None:
    """Answer ``http://…:port/metrics`` from a thread of its own.

    Raises:
        ConfigurationError: The port cannot be opened.
    """
    collectors = CollectorRegistry()
    try:
        start_http_server(port, registry=collectors)
    except OSError as error:
        raise ConfigurationError(f"port {port} cannot be opened: {error.strerror}") from error
    collectors.register(WorkerMetrics(conninfo, report))
