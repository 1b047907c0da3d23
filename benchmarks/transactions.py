"""What a running worker does to the application's transactions: errors, lock waits, latency.

Four writers, each on keys of its own, read and update a text or insert one, at both isolation
levels, while a worker runs or none does. The control is an upsert queue with a consumer, at
REPEATABLE READ: its writers meet the consumer on the queue's rows and fail.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import psycopg

from benchmarks.report import write_report
from benchmarks.stage import (
    CONTROL_QUEUE,
    CONTROL_TRIGGER,
    ROUNDS,
    make_article,
    percentiles,
    queue_consumer,
    running_worker,
    set_triggers,
    temporary_server,
    texts,
    trigger_definitions,
)
from embedsql.database import connect

WRITERS = 4
EACH = 500  # transactions of one writer in one round: 10,000 for each side and level
KEYS = 25  # of one writer: so few that worker and writer meet on them
LONG_WAIT = 0.05
SAMPLE_SECONDS = 0.005
LEVELS = (psycopg.IsolationLevel.READ_COMMITTED, psycopg.IsolationLevel.REPEATABLE_READ)
TEXTS = texts(2000)
WAITING = """SELECT pid, query_start, coalesce(wait_event, '') FROM pg_stat_activity
WHERE application_name = 'writer' AND wait_event_type = 'Lock'"""


@dataclass
class Tally:
    """What one side of one level came to. Seconds; a round's percentiles in ``rounds``."""

    transactions: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    waits: dict[str, list[float]] = field(default_factory=dict)
    rounds: list[dict[str, float]] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """For the report."""
        waits = [wait for found in self.waits.values() for wait in found]
        return {
            "transactions": self.transactions,
            "errors": self.errors,
            "deadlocks": self.errors.get("DeadlockDetected", 0),
            "lock waits over 50 ms": sum(wait > LONG_WAIT for wait in waits),
            "longest lock wait, ms": round(max(waits, default=0) * 1000, 1),
            "lock waits seen, by what": {what: len(found) for what, found in self.waits.items()},
            **percentiles(self.latencies),
        }


def main() -> None:
    """Every level, every side, the sides in turn."""
    figures: dict[str, Any] = {}
    with temporary_server() as info, connect(info) as connection:
        make_article(connection)
        connection.execute(CONTROL_QUEUE)
        triggers = trigger_definitions(connection)
        for level in LEVELS:
            tallies = {"no worker": Tally(), "worker": Tally()}
            if level is psycopg.IsolationLevel.REPEATABLE_READ:
                tallies["control"] = Tally()
            for number in range(ROUNDS):
                print(f"{level.name}: round {number + 1} of {ROUNDS} …", file=sys.stderr)
                order = list(tallies)[:: 1 if number % 2 else -1]
                for side in order:
                    prepare(connection, triggers, control=side == "control")
                    with BESIDE[side](info):
                        run_round(info, level, number, tallies[side])
            figures[level.name] = summary(tallies)
    write_report("transactions", figures)


def summary(tallies: dict[str, Tally]) -> dict[str, Any]:
    """Each side's figures, and the latencies with a worker to those without."""
    found: dict[str, Any] = {side: tally.figures() for side, tally in tallies.items()}
    pairs = list(zip(tallies["worker"].rounds, tallies["no worker"].rounds, strict=True))
    for name in ("p50_ms", "p99_ms"):
        least = [min(one[name] for one in side) for side in zip(*pairs, strict=True)]
        found[f"{name}, worker / no worker"] = {
            "ratio of min": round(least[0] / least[1], 3),
            "median ratio": round(statistics.median(a[name] / b[name] for a, b in pairs), 3),
        }
    return found


def prepare(connection: psycopg.Connection, triggers: dict[str, str], *, control: bool) -> None:
    """The writers' first rows and nothing else, under the index's triggers or the control's."""
    set_triggers(connection, triggers)
    connection.execute("TRUNCATE article")  # whose trigger empties the index too
    connection.execute("TRUNCATE control_queue")
    if control:
        set_triggers(connection, {"control": CONTROL_TRIGGER})
    with connection.cursor() as cursor:
        rows = [(key, TEXTS[key]) for key in range(WRITERS * KEYS)]
        cursor.executemany("INSERT INTO article (id, body) VALUES (%s, %s)", rows)


def run_round(info: str, level: psycopg.IsolationLevel, number: int, tally: Tally) -> None:
    """All writers at once, and a sampler of their lock waits."""
    done = threading.Event()
    with ThreadPoolExecutor(WRITERS + 1) as pool:
        sampler = pool.submit(sample_waits, info, done)
        writers = [
            pool.submit(write, info, level, place, number * WRITERS + place)
            for place in range(WRITERS)
        ]
        try:
            results = [writer.result() for writer in writers]
        finally:
            done.set()
    latencies = [latency for found, _ in results for latency in found]
    tally.transactions += WRITERS * EACH
    tally.latencies += latencies
    tally.rounds.append(percentiles(latencies))
    for _, errors in results:
        for error in errors:
            tally.errors[error] = tally.errors.get(error, 0) + 1
    for what, waited in sampler.result():
        tally.waits.setdefault(what, []).append(waited)


def write(
    info: str, level: psycopg.IsolationLevel, place: int, seed: int
) -> tuple[list[float], list[str]]:
    """One writer's transactions: the seconds of each, the errors of those that failed."""
    chance = random.Random(seed)
    latencies, errors = [], []
    with connect(info, application_name="writer") as connection:
        connection.isolation_level = level
        for number in range(EACH):
            key, text = place * KEYS + chance.randrange(KEYS), chance.choice(TEXTS)
            start = time.perf_counter()
            try:
                with connection.transaction():
                    connection.execute("SELECT body FROM article WHERE id = %s", [key])
                    if number % 2:
                        statement = "UPDATE article SET body = %s WHERE id = %s"
                    else:
                        statement = "INSERT INTO article (body, id) VALUES (%s, %s)"
                        key = 1_000_000 * (place + 1) + number
                    connection.execute(statement.encode(), [text, key])
            except psycopg.Error as error:
                errors.append(type(error).__name__)
            latencies.append(time.perf_counter() - start)
    return latencies, errors


def sample_waits(info: str, done: threading.Event) -> list[tuple[str, float]]:
    """What the writers waited for and how long: each wait from its first sample past its last."""
    first: dict[tuple[int, Any, str], float] = {}
    waits = []
    with connect(info, application_name="sampler") as connection:
        while not done.wait(SAMPLE_SECONDS):
            waiting = set(connection.execute(WAITING).fetchall())
            now = time.perf_counter()
            for ended in first.keys() - waiting:
                waits.append((ended[2], now - first.pop(ended)))
            for begun in waiting - first.keys():
                first[begun] = now
    return waits


@contextlib.contextmanager
def warm_worker(info: str) -> Iterator[None]:
    """A worker that has begun: it has embedded the first rows."""
    with running_worker(info), connect(info) as connection:
        deadline = time.monotonic() + 60
        while connection.execute("SELECT FROM article_search").rowcount < WRITERS * KEYS:
            if time.monotonic() > deadline:
                raise TimeoutError("the worker does not embed")
            time.sleep(0.05)
        yield


BESIDE: dict[str, Callable[[str], AbstractContextManager[None]]] = {
    "no worker": lambda info: contextlib.nullcontext(),
    "worker": warm_worker,
    "control": queue_consumer,
}


if __name__ == "__main__":
    main()
