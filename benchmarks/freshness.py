"""How soon a committed row is in the index's view: one idle worker, single-row INSERTs.

The hash embedder costs next to nothing, so what is timed is the way: notification, claim, read,
write. Beside it, in the same run, the delay of a bare NOTIFY to a listener, which is its floor.
"""

from __future__ import annotations

import random
import statistics
import time
from typing import Any

import psycopg

from benchmarks.report import write_report
from benchmarks.stage import (
    ROUNDS,
    make_article,
    percentiles,
    running_worker,
    temporary_server,
    texts,
)
from embedsql.database import connect

GOALS = {"floor": {"p50_ms": 150, "p99_ms": 500}, "goal": {"p50_ms": 15, "p99_ms": 60}}
INSERTS = 200
LOOK_SECONDS = 0.0005
PATIENCE_SECONDS = 60.0


def main() -> None:
    """Insert, pause, insert; INSERTS in all, in ROUNDS equal parts."""
    with temporary_server() as info, connect(info) as writer, connect(info) as reader:
        make_article(writer)
        with running_worker(info):
            settle(writer, reader)
            rounds, notify = measure(writer, reader)
    every = [second for part in rounds for second in part]
    parts = [percentiles(part) for part in rounds]
    figures: dict[str, Any] = {
        "inserts": len(every),
        **percentiles(every),
        "longest_ms": round(max(every) * 1000, 1),
        "best round": {key: min(part[key] for part in parts) for key in parts[0]},
        "median round": {key: statistics.median(part[key] for part in parts) for key in parts[0]},
        "bare NOTIFY": percentiles(notify),
        **GOALS,
    }
    write_report("freshness", figures)


def measure(
    writer: psycopg.Connection, reader: psycopg.Connection
) -> tuple[list[list[float]], list[float]]:
    """Seconds from commit to being seen, by round; and of a bare notification."""
    chance = random.Random(2)
    reader.execute("LISTEN bare")
    rounds, notify = [], []
    for number in range(ROUNDS):
        part = []
        for place, text in enumerate(texts(INSERTS // ROUNDS, seed=10 + number)):
            time.sleep(chance.uniform(0.05, 0.2))
            part.append(insert_and_wait(writer, reader, number * INSERTS + place, text))
            start = time.perf_counter()
            writer.execute("NOTIFY bare")
            for _ in reader.notifies(timeout=PATIENCE_SECONDS, stop_after=1):
                notify.append(time.perf_counter() - start)
        rounds.append(part)
    return rounds, notify


def insert_and_wait(
    writer: psycopg.Connection, reader: psycopg.Connection, key: int, text: str
) -> float:
    """Seconds from the INSERT's return, which is its commit, to the view showing the row."""
    writer.execute("INSERT INTO article (id, body) VALUES (%s, %s)", [key, text])
    start = time.perf_counter()
    while (waited := time.perf_counter() - start) < PATIENCE_SECONDS:
        if reader.execute("SELECT FROM article_search WHERE id = %s", [key]).rowcount:
            return time.perf_counter() - start
        time.sleep(LOOK_SECONDS)
    raise TimeoutError(f"row {key} is not there after {waited:.0f} s")


def settle(writer: psycopg.Connection, reader: psycopg.Connection) -> None:
    """Until the worker has started, has built the vector index and has every path behind it."""
    for key in range(-10, 0):
        insert_and_wait(writer, reader, key, f"a first text {key}")
        time.sleep(0.3)


if __name__ == "__main__":
    main()
