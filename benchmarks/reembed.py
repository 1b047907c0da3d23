"""A model change under load: failed searches, mixed results, locks, and what searches feel of it.

Searches and writes come at a fixed rate each: first with a worker alone, then while the index
passes to a model of other dimensions, is rolled back, switched again and loses its first
generation. Searches look as far as pgvector's own do (``ef_search`` 40; ``--candidates``), so that
two cores are busy but not short. Every search asks for a row that never changes by its whole text.
Another similarity of that row than 1 is a mixed space; where it is not found, it is lost unless the
index's view has it (the approximate index has missed it then, as it may). Exclusive locks on what
searches and writers use count from the moment they are waited for.
``python -m benchmarks.reembed --rows 50000``
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg

from benchmarks.report import write_report
from benchmarks.stage import make_article, percentiles, running_worker, temporary_server, texts
from embedsql.database import connect
from embedsql.reembed import ModelChange
from embedsql.reembed.filling import is_built
from embedsql.registered import RegisteredSearch
from embedsql.registry import RegisteredIndex, find_index
from embedsql.search import SearchTuning

SEARCHERS = 4
RATE = 50  # a second: searches, and as many writes
FIXED = 500  # rows that never change
SAMPLE_SECONDS = 0.005
FLOORS = {"failed": 0, "mixed": 0, "lost": 0, "longest exclusive lock, ms": 250, "p99 ratio": 1.6}

_THERE = "SELECT FROM article_search WHERE id = %s"

# whoever is kept waiting by an exclusive lock on the source or the views, and whoever holds one
_LOCKS = """
SELECT DISTINCT l.pid FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation
WHERE c.relname IN ('article', 'article_search', 'article_search_chunk') AND l.database <> 0
  AND l.mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock')
"""


@dataclass
class Tally:
    """What one part of the run came to; latencies in seconds."""

    latencies: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    mixed: int = 0
    lost: int = 0
    missed: int = 0
    writes: int = 0
    write_latencies: list[float] = field(default_factory=list)
    late: int = 0

    def figures(self) -> dict[str, Any]:
        """For the report."""
        return {
            "searches": len(self.latencies),
            "failed": len(self.failed),
            "errors": sorted(set(self.failed))[:5],
            "mixed": self.mixed,
            "lost": self.lost,
            "missed by the approximate index": self.missed,
            "late starts": self.late,
            **percentiles(self.latencies),
            "writes": self.writes,
            "writes' p99_ms": percentiles(self.write_latencies)["p99_ms"],
        }


class Load:
    """Searches and writes at a fixed rate, until told to stop."""

    def __init__(self, info: str, rows: list[str], tuning: SearchTuning) -> None:
        self.tally = Tally()
        self.longest_lock = 0.0
        self._info = info
        self._rows = rows
        self._tuning = tuning
        self._over = threading.Event()

    def during(self, busy: Callable[[], None]) -> Tally:
        """What the load felt while ``busy`` ran."""
        self.tally = Tally()
        busy()
        return self.tally

    def run(self, busy: Callable[[], None]) -> None:
        """Keep the load up while ``busy`` runs."""
        with ThreadPoolExecutor(SEARCHERS + 2) as pool:
            tasks = [pool.submit(self._search, place) for place in range(SEARCHERS)]
            tasks += [pool.submit(self._write), pool.submit(self._watch_locks)]
            try:
                busy()
            finally:
                self._over.set()
            for task in tasks:
                task.result()

    def _paced(self, step: float) -> Callable[[], None]:
        """Waits for the next turn; one that is late begins at once and is counted."""
        due = time.perf_counter() + random.random() * step

        def wait() -> None:
            nonlocal due
            pause = due - time.perf_counter()
            due += step
            if pause < -step:
                self.tally.late += 1
                due = time.perf_counter() + step
            time.sleep(max(pause, 0))

        return wait

    def _search(self, place: int) -> None:
        chance = random.Random(place)
        wait = self._paced(SEARCHERS / RATE)
        with (
            connect(self._info) as connection,
            RegisteredSearch(self._info, "article_search") as searcher,
        ):
            while not self._over.is_set():
                wait()
                key = chance.randrange(FIXED)
                begun, tally = time.perf_counter(), self.tally
                try:
                    hits = searcher.search(
                        self._rows[key], mode="dense", limit=10, tuning=self._tuning
                    ).hits
                except Exception as error:
                    tally.failed.append(f"{type(error).__name__}: {error}"[:200])
                    continue
                tally.latencies.append(time.perf_counter() - begun)
                first, hit = hits[0] if hits else (None, None)
                if first == key:
                    tally.mixed += hit is None or (hit.similarity or 0) < 0.99
                elif connection.execute(_THERE, [key]).rowcount:
                    tally.missed += 1
                else:
                    tally.lost += 1

    def _write(self) -> None:
        chance = random.Random(99)
        wait = self._paced(1 / RATE)
        with connect(self._info) as connection:
            while not self._over.is_set():
                wait()
                key = chance.randrange(FIXED, len(self._rows) + 1000)
                begun = time.perf_counter()
                connection.execute(
                    "INSERT INTO article (id, body) VALUES (%s, %s) "
                    "ON CONFLICT (id) DO UPDATE SET body = EXCLUDED.body",
                    [key, f"{chance.choice(self._rows)} written anew {self.tally.writes}"],
                )
                self.tally.write_latencies.append(time.perf_counter() - begun)
                self.tally.writes += 1

    def _watch_locks(self) -> None:
        """How long the longest exclusive lock was seen, held or waited for, without a gap."""
        since: dict[int, float] = {}
        with connect(self._info, application_name="sampler") as connection:
            while not self._over.wait(SAMPLE_SECONDS):
                seen = {int(row[0]) for row in connection.execute(_LOCKS).fetchall()}
                now = time.perf_counter()
                since = {pid: since.get(pid, now) for pid in seen}
                longest = max((now - begun for begun in since.values()), default=0.0)
                self.longest_lock = max(self.longest_lock, longest + SAMPLE_SECONDS * bool(since))


def main() -> None:
    """Fill, measure before, change, measure during."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--before", type=float, default=90, help="Seconds of load before.")
    depth = "SearchTuning.candidates: 20 looks as far as pgvector itself, 100 is our default."
    parser.add_argument("--candidates", type=int, default=20, help=depth)
    options = parser.parse_args()
    rows = texts(options.rows, characters=400)
    rows = [f"{text} number{key}a{key}b" for key, text in enumerate(rows)]
    with temporary_server() as info, connect(info) as connection, contextlib.ExitStack() as worker:
        index = insert(connection, rows)
        worker.enter_context(running_worker(info))
        await_filled(connection, index)
        load = Load(info, rows, SearchTuning(candidates=options.candidates))
        parts: dict[str, Tally] = {}
        seconds: dict[str, float] = {}

        def measure() -> None:
            time.sleep(3)  # models loaded, caches warm
            for name, busy in (
                ("before", lambda: time.sleep(options.before)),
                ("during", lambda: change(info, index)),
            ):
                print(f"{name} …", file=sys.stderr)
                begun = time.perf_counter()
                parts[name] = load.during(busy)
                seconds[name] = round(time.perf_counter() - begun, 1)

        load.run(measure)
    found = figures(options.rows, parts, seconds, load.longest_lock)
    write_report("reembed", {"candidates": options.candidates, **found})


def insert(connection: psycopg.Connection, rows: list[str]) -> RegisteredIndex:
    """The table and its rows, before any worker runs: the vector index comes after the vectors."""
    index = make_article(connection, model="hash:384", dimensions=384)
    connection.execute(
        "INSERT INTO article (id, body) SELECT * FROM unnest(%s::bigint[], %s::text[])",
        [list(range(len(rows))), rows],
    )
    return index


def await_filled(connection: psycopg.Connection, index: RegisteredIndex) -> None:
    """Until the old model's vectors are there, and their index."""
    deadline = time.monotonic() + 3600
    while find_index(connection, index.spec.name).backfilling or not is_built(connection, index):
        if time.monotonic() > deadline:
            raise TimeoutError("the worker does not get the index built")
        time.sleep(0.5)


def change(info: str, index: RegisteredIndex) -> None:
    """The whole of a model change, with a change of mind."""
    spec = replace(index.spec, model="hash:512", dimensions=512, quantization="halfvec")
    with ModelChange(info, index.spec.name) as model_change:
        model_change.begin(spec)
        model_change.fill()
        model_change.compare()
        model_change.switch()
        model_change.rollback()
        model_change.switch()
        model_change.finish()


def figures(
    rows: int, parts: dict[str, Tally], seconds: dict[str, float], longest_lock: float
) -> dict[str, Any]:
    """For the report."""
    found = {name: tally.figures() | {"seconds": seconds[name]} for name, tally in parts.items()}
    ratio = found["during"]["p99_ms"] / found["before"]["p99_ms"]
    return {
        "rows": rows,
        **found,
        "longest exclusive lock, ms": round(longest_lock * 1000, 1),
        "p99, during / before": round(ratio, 2),
        "p50, during / before": round(found["during"]["p50_ms"] / found["before"]["p50_ms"], 2),
        "floors": FLOORS,
    }


if __name__ == "__main__":
    main()
