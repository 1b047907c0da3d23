"""How long a claim takes: on a long log and a short one, and beside an old snapshot.

An old snapshot (a dump, a forgotten transaction) keeps every deleted log row in the index that a
claim walks. Batches are acknowledged by hand, as a write does it; only claims are timed.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from benchmarks.report import write_report
from benchmarks.stage import interleaved, make_article, ratio, temporary_server
from embedsql.changelog import Batch, ChangeLog
from embedsql.database import connect
from embedsql.registry import RegisteredIndex
from embedsql.slots import Slots

GOALS = {
    "floor": {"1,000,000 / 10,000 waiting": 1.2, "pinned, last / first eighth": 2.5},
    "goal": {"1,000,000 / 10,000 waiting": 1.05, "pinned, last / first eighth": 1.5},
}
WAITING = {"10,000": 10_000, "1,000,000": 1_000_000}
BATCH = 256
CLAIMS = 200
PROCESSED = 100_000
# a worker looks where its log begins every five seconds: so often at 2,500 rows a second
CLAIMS_PER_HINT = 50


class Claimer:
    """Claims on one index, timed."""

    def __init__(self, connection: psycopg.Connection, index: RegisteredIndex) -> None:
        self.connection = connection
        self.log = ChangeLog(index, "claimer")
        self._slots = Slots(index.spec, index.names)
        self.log.refresh_hint(connection)

    def fill(self, rows: int) -> None:
        """Log so many keys, each once."""
        self._execute("INSERT INTO {log} (key_1) SELECT generate_series(1, %(rows)s)", rows=rows)
        self._execute("VACUUM (ANALYZE) {log}")
        self.log.refresh_hint(self.connection)

    def claim(self) -> tuple[float, Batch]:
        """Seconds, and what was claimed."""
        started = time.perf_counter()
        batch = self.log.claim(self.connection, BATCH)
        seconds = time.perf_counter() - started
        assert batch is not None
        return seconds, batch

    def give_back(self) -> None:
        """Release every batch."""
        self._execute("DELETE FROM {batch}")

    def acknowledge(self, batch: Batch) -> None:
        """End a batch as a write does: its lease and its log rows go."""
        with self.connection.transaction():
            self._execute("DELETE FROM {batch} WHERE batch_id = %(id)s", id=batch.batch_id)
            self._execute("DELETE FROM {log} WHERE seq = ANY (%(seqs)s)", seqs=list(batch.seqs))

    def _execute(self, statement: str, **values: Any) -> None:
        filled = sql.SQL(statement).format(log=self._slots.log, batch=self._slots.batch)
        self.connection.execute(filled, values)


def main() -> None:
    """Both comparisons."""
    figures: dict[str, Any] = {}
    with temporary_server() as info, connect(info) as connection:
        figures["by rows waiting"] = by_waiting(connection)
        with connect(info) as reader:
            reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            figures["no old snapshot"] = over_processed(connection, "plain")
            with reader.transaction():
                reader.execute("SELECT count(*) FROM embedsql.semantic_index")
                figures["an old snapshot"] = over_processed(connection, "pinned")
    write_report("claims", figures | GOALS)


def by_waiting(connection: psycopg.Connection) -> dict[str, Any]:
    """The same claim on a long and on a short log, in turn."""
    claimers = {}
    for number, (name, rows) in enumerate(WAITING.items()):
        print(f"{name} rows wait …", file=sys.stderr)
        claimers[name] = Claimer(connection, make_article(connection, f"waiting_{number}"))
        claimers[name].fill(rows)

    def run(name: str) -> float:
        seconds, batch = claimers[name].claim()
        assert len(batch) == BATCH
        claimers[name].give_back()
        return seconds

    found = interleaved(list(WAITING), run, CLAIMS)
    few, many = (statistics.median(found[name]) for name in WAITING)
    return {
        "median ms": {name: milliseconds(found[name]) for name in WAITING},
        "least ms": {name: round(min(found[name]) * 1000, 3) for name in WAITING},
        "1,000,000 / 10,000, of medians": round(many / few, 3),
        "1,000,000 / 10,000, median of pairs": ratio(found["1,000,000"], found["10,000"])[
            "median ratio"
        ],
    }


def over_processed(connection: psycopg.Connection, table: str) -> dict[str, Any]:
    """Claim and acknowledge until so many keys are done."""
    print(f"{PROCESSED:,} keys, {table} …", file=sys.stderr)
    claimer = Claimer(connection, make_article(connection, table))
    claimer.fill(PROCESSED)
    claims, hints = [], []
    for number in range(PROCESSED // BATCH):
        if number % CLAIMS_PER_HINT == 0:
            started = time.perf_counter()
            claimer.log.refresh_hint(connection)
            hints.append(time.perf_counter() - started)
        seconds, batch = claimer.claim()
        claims.append(seconds)
        claimer.acknowledge(batch)
    eighth = len(claims) // 8
    eighths = [claims[start : start + eighth] for start in range(0, 8 * eighth, eighth)]
    first, last = statistics.median(eighths[0]), statistics.median(eighths[-1])
    return {
        "median ms, by eighths": [milliseconds(part) for part in eighths],
        "last / first eighth": round(last / first, 3),
        "longest ms": round(max(claims) * 1000, 2),
        "finding the log's beginning, ms": [round(hint * 1000, 2) for hint in hints],
    }


def milliseconds(seconds: Sequence[float]) -> float:
    """The median."""
    return round(statistics.median(seconds) * 1000, 3)


if __name__ == "__main__":
    main()
