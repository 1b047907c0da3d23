"""A row for each worker, so that ``status`` knows who is at work and how fast."""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from importlib.metadata import version

import psycopg

from embedsql import sqlfile
from embedsql.worker.report import WorkerReport

RATE_SECONDS = 60.0


class Heartbeat:
    """Says that a worker lives, and what it has done.

    Args:
        worker: Its name, unlike any other's.
        report: Its counts.
    """

    def __init__(self, worker: str, report: WorkerReport) -> None:
        self._worker = worker
        self._report = report
        self._seen = deque([(time.monotonic(), Counter[str]())])

    def beat(self, connection: psycopg.Connection) -> None:
        """Write the row, and sweep away those of workers that went without a word."""
        report = self._report
        values = {
            "worker": self._worker,
            "release": version("embedsql"),
            "rates": json.dumps(self._rates()),
            "saved": report.saved,
            "failed": report.failed,
            "embedded": report.embedded,
            "reused": report.reused,
        }
        connection.execute(sqlfile.statement(__package__, "heartbeat.sql"), values)

    def end(self, connection: psycopg.Connection) -> None:
        """Remove the row."""
        connection.execute("DELETE FROM embedsql.worker WHERE worker = %s", [self._worker])

    def _rates(self) -> dict[str, float]:
        """Rows a second of the last minute, by index."""
        now, settled = time.monotonic(), self._report.settled.copy()
        self._seen.append((now, settled))
        while len(self._seen) > 2 and self._seen[1][0] < now - RATE_SECONDS:
            self._seen.popleft()
        then, before = self._seen[0]
        seconds = max(now - then, 0.001)
        return {name: round((settled[name] - before[name]) / seconds, 2) for name in settled}
