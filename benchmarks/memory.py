"""A worker's memory above its loaded model, while a million rows wait.

The process is measured twice: warmed up and idle, then for a minute at work on the backlog. The
model is MiniLM where its weights are at hand, else the hash embedder. Linux only.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.report import write_report
from benchmarks.stage import make_article, running_worker, temporary_server, texts
from embedsql.database import connect
from embedsql.embedders import load_embedder
from embedsql.errors import ConfigurationError
from embedsql.spec import DEFAULT_MODEL

GOALS = {"floor": {"MB above the model": 300}, "goal": {"MB above the model": 100}}
BACKLOG = 1_000_000
WARM_UP = 300  # more than a batch
CHARACTERS = 200
WORK_SECONDS = 60.0
SAMPLE_SECONDS = 0.1
FIELDS = ("VmRSS", "RssAnon", "VmHWM")


def main() -> None:
    """Warm up, measure, fill, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hash", action="store_true", help="not MiniLM: many more rows a minute")
    model = "hash:384" if parser.parse_args().hash else choose_model()
    with temporary_server() as info, connect(info) as connection:
        make_article(connection, model=model, dimensions=384)
        with running_worker(info) as worker:
            insert(connection, 0, WARM_UP)
            wait_until(lambda: embedded(connection) == WARM_UP)
            time.sleep(5)
            idle = memory_of(worker.pid)
            print(f"idle {idle}; {BACKLOG:,} rows …", file=sys.stderr)
            insert(connection, WARM_UP, BACKLOG)
            begun = embedded(connection)
            samples = []
            deadline = time.monotonic() + WORK_SECONDS
            while time.monotonic() < deadline:
                samples.append(memory_of(worker.pid))
                time.sleep(SAMPLE_SECONDS)
            done = embedded(connection) - begun
            assert worker.poll() is None, "the worker ended"
            assert 0 < done < BACKLOG, "the worker was not at work all the time"
    above = [sample["VmRSS"] - idle["VmRSS"] for sample in samples]
    figures = {
        "model": model,
        "rows waiting": BACKLOG,
        "rows embedded meanwhile": done,
        "idle, MB": idle,
        "at work, MB, at the end": samples[-1],
        "MB above the model, most": round(max(above), 1),
        "MB above the model, median": round(statistics.median(above), 1),
        "MB above the model, peak by the kernel": round(samples[-1]["VmHWM"] - idle["VmRSS"], 1),
    }
    write_report("memory", figures | GOALS)


def choose_model() -> str:
    """MiniLM if it can be loaded here, else a hash of as many dimensions."""
    try:
        load_embedder(DEFAULT_MODEL)
    except ConfigurationError:
        return "hash:384"
    return DEFAULT_MODEL


def insert(connection: psycopg.Connection, first: int, count: int) -> None:
    """Rows with texts of their own, in one transaction."""
    connection.execute(
        "INSERT INTO article (id, body) "
        "SELECT n, n || ' ' || (%s::text[])[n %% 1000 + 1] FROM generate_series(%s::int, %s) AS n",
        [texts(1000, CHARACTERS), first, first + count - 1],
    )


def embedded(connection: psycopg.Connection) -> int:
    """How many rows have vectors."""
    found = connection.execute("SELECT count(*) FROM embedsql.article_search_chunk").fetchone()
    return 0 if found is None else int(found[0])


def wait_until(condition: Callable[[], bool], seconds: float = 300) -> None:
    """Look every tenth of a second.

    Raises:
        TimeoutError: It did not come true.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the worker does not get on")
        time.sleep(0.1)


def memory_of(pid: int) -> dict[str, float]:
    """Resident now, of it private, and the most there was, in MB."""
    status: dict[str, Any] = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in FIELDS:
            status[name] = round(int(value.split()[0]) / 1024, 1)
    return status


if __name__ == "__main__":
    main()
