"""What is lost, and how fast it goes afterwards, when workers, server and connections are killed.

Under an unruly load: workers are killed with SIGKILL; the server is, with all its processes;
backends are terminated, five a second; every connection is taken. After each, ``verify``'s
verdict, and the same measured load as before it. ``--quick`` is a tenth of it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from benchmarks.load import bodies, unruly_load
from benchmarks.report import write_report
from benchmarks.stage import embedded_server, make_article
from benchmarks.workers import start_worker
from embedsql.database import connect, conninfo
from embedsql.embedded import EmbeddedServer
from embedsql.embedders.hashing import HashEmbedder
from embedsql.errors import ConnectionFailedError
from embedsql.registry import find_index
from embedsql.verify import Verdict, verify_index

GOALS = {
    "floor": {"lost": 0, "throughput after / before": 0.9},
    "goal": {"lost": 0, "throughput after / before": 0.98},
}
ROUNDS = 5
MEASURED_ROWS, EACH = 3000, 100  # inserted so many a statement
BACKLOG_EACH = 200  # rows for each worker killed
MAX_CONNECTIONS = 40
SETTLE_SECONDS = 240.0
EMBEDDER = HashEmbedder("hash:64")
BACKENDS = """SELECT pid FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND application_name <> 'hog'"""


@dataclass(frozen=True)
class Sizes:
    """How much of each fault."""

    worker_kills: int = 200
    server_kills: int = 20
    terminate_seconds: float = 20.0
    exhausted_seconds: float = 15.0


QUICK = Sizes(20, 3, 5.0, 5.0)


class Stage:
    """A server with two tables, the load's and the measured one, and workers that are restarted."""

    def __init__(self, server: EmbeddedServer, sizes: Sizes) -> None:
        self.server = server
        self.sizes = sizes
        self.info = conninfo(server.url)
        self.chance = random.Random(3)
        self.workers = [start_worker(self.info)]

    def close(self) -> None:
        """End the workers."""
        for worker in self.workers:
            worker.terminate()
            worker.join()

    def throughput(self) -> tuple[list[float], list[float]]:
        """Seconds from the first insert until the last vector, of rounds of the same load.

        Beside them, of the same rounds, of a control: the same rows into a table without an index,
        and through the embedder alone. It tells how busy the machine was with other things.
        """
        ours, control = [], []
        with self._patient() as connection:
            for _ in range(ROUNDS):
                connection.execute("TRUNCATE measured, bare")
                control.append(self._insert(connection, "bare"))
                ours.append(self._insert(connection, "measured"))
        return ours, control

    def _insert(self, connection: psycopg.Connection, table: str) -> float:
        statement = sql.SQL(
            "INSERT INTO {} (id, body) "
            "SELECT n, n || %s FROM generate_series(%s::int, %s) AS n RETURNING body"
        ).format(sql.Identifier(table))
        started = time.perf_counter()
        for first in range(0, MEASURED_ROWS, EACH):
            values = [self.chance.choice(bodies()), first, first + EACH - 1]
            rows = connection.execute(statement, values).fetchall()
            if table == "bare":
                EMBEDDER.embed_documents([body for (body,) in rows])
        if table == "measured":
            while connection.execute("SELECT FROM measured_search").rowcount < MEASURED_ROWS:
                self._check_time(started)
                time.sleep(0.02)
        return time.perf_counter() - started

    def verdict(self) -> Verdict:
        """Of the load's table, once nothing waits any more."""
        started = time.perf_counter()
        with self._patient() as connection:
            while True:
                found = verify_index(connection, find_index(connection, "article_search"))
                if not found.pending:
                    return found
                self._check_time(started)
                time.sleep(0.5)

    def recovery(self) -> float:
        """Seconds until a row inserted now is in the index."""
        started = time.perf_counter()
        with self._patient() as connection:
            connection.execute("TRUNCATE measured")
            connection.execute("INSERT INTO measured (id, body) VALUES (-1, 'after the fault')")
            while not connection.execute("SELECT FROM measured_search").rowcount:
                self._check_time(started)
                time.sleep(0.02)
        return time.perf_counter() - started

    @staticmethod
    def _check_time(started: float) -> None:
        if time.perf_counter() - started > SETTLE_SECONDS:
            raise TimeoutError("the worker does not get on")

    @contextlib.contextmanager
    def _patient(self) -> Iterator[psycopg.Connection]:
        deadline = time.monotonic() + 60
        while True:
            try:
                connection = connect(self.info, application_name="measure")
                break
            except ConnectionFailedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        with connection:
            yield connection


def kill_workers(stage: Stage) -> dict[str, Any]:
    """Two at a time, one killed as soon as it holds a batch, or a moment later, or at any time."""
    stage.workers.append(start_worker(stage.info))
    held = 0
    with connect(stage.info) as connection:
        # a backlog beside the load, so that batches are full and there always is one
        connection.execute(
            "INSERT INTO article (id, body) "
            "SELECT n, n || (%s::text[])[n %% 1000 + 1] FROM generate_series(%s::int, %s) AS n",
            [bodies(), 10**7, 10**7 + BACKLOG_EACH * stage.sizes.worker_kills],
        )
        for number in range(stage.sizes.worker_kills):
            victim = stage.workers[number % 2]
            if number % 4:
                wait_for_batch(connection, victim.pid)
                time.sleep(stage.chance.choice((0, 0, 0.01, 0.03)))
            else:
                time.sleep(stage.chance.uniform(0.05, 0.5))
            victim.kill()
            victim.join()
            held += holds_batch(connection, victim.pid)
            stage.workers[number % 2] = start_worker(stage.info)
    last = stage.workers.pop()
    last.terminate()
    last.join()
    return {"kills": stage.sizes.worker_kills, "of these, holding a batch": held}


def wait_for_batch(connection: psycopg.Connection, pid: int | None) -> None:
    """Until a worker holds a batch, but not for long: there may be nothing to do."""
    deadline = time.monotonic() + 3
    while not holds_batch(connection, pid) and time.monotonic() < deadline:
        time.sleep(0.001)


def holds_batch(connection: psycopg.Connection, pid: int | None) -> bool:
    """Whether the worker in this process has a lease, or died with one."""
    statement = "SELECT FROM embedsql.article_search_batch WHERE worker LIKE %s"
    return connection.execute(statement, [f"%:{pid}:%"]).rowcount > 0


def kill_server(stage: Stage) -> dict[str, Any]:
    """The postmaster and all its children, and a start that recovers from the log."""
    for _ in range(stage.sizes.server_kills):
        time.sleep(stage.chance.uniform(0.5, 2.0))
        postmaster = stage.server.status().pid
        assert postmaster is not None
        for pid in (postmaster, *children(postmaster)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        stage.server.start()
    return {"kills": stage.sizes.server_kills}


def children(pid: int) -> list[int]:
    """The processes whose parent it is."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                status = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(status[1]) == pid:
                    found.append(int(folder.name))
    return found


def terminate_backends(stage: Stage) -> dict[str, Any]:
    """Any client's connection, five a second."""
    terminated = 0
    deadline = time.monotonic() + stage.sizes.terminate_seconds
    with connect(stage.info) as connection:
        while time.monotonic() < deadline:
            time.sleep(0.2)
            pids = [pid for (pid,) in connection.execute(BACKENDS).fetchall()]
            if pids:
                connection.execute("SELECT pg_terminate_backend(%s)", [stage.chance.choice(pids)])
                terminated += 1
    return {"terminated": terminated}


def exhaust_connections(stage: Stage) -> dict[str, Any]:
    """Take every connection there is, those of worker and writers, too, and keep them."""
    hogs: list[psycopg.Connection] = []
    refused = 0
    deadline = time.monotonic() + stage.sizes.exhausted_seconds
    with connect(stage.info, application_name="hog") as connection:
        while time.monotonic() < deadline:
            try:
                hogs.append(connect(stage.info, application_name="hog"))
            except ConnectionFailedError:
                refused += 1
                pids = [pid for (pid,) in connection.execute(BACKENDS).fetchall()]
                for pid in pids:
                    connection.execute("SELECT pg_terminate_backend(%s)", [pid])
                time.sleep(0.02)
    for hog in hogs:
        hog.close()
    return {"held": len(hogs), "found none left": refused}


FAULTS: dict[str, Callable[[Stage], dict[str, Any]]] = {
    "worker killed": kill_workers,
    "server killed": kill_server,
    "backends terminated": terminate_backends,
    "connections exhausted": exhaust_connections,
}


def run_fault(stage: Stage, number: int, fault: Callable[[Stage], dict[str, Any]]) -> Any:
    """The load before, the fault under the unruly one, the verdict, the load after."""
    before, control_before = stage.throughput()
    worker = stage.workers[0]
    with unruly_load(stage.info, number) as tally:
        found = fault(stage)
        recovery = stage.recovery()
    verdict = stage.verdict()
    if fault is not kill_workers and (worker.exitcode is not None):
        raise RuntimeError("the worker did not survive")
    after, control_after = stage.throughput()
    return {
        **found,
        "transactions and errors of the writers": dict(tally.most_common()),
        "lost": verdict.missing - verdict.dead,
        **{name: count for name, count in asdict(verdict).items() if name != "repaired"},
        "seconds until a new row is seen": round(recovery, 2),
        "rows per second before": [round(MEASURED_ROWS / one) for one in before],
        "rows per second after": [round(MEASURED_ROWS / one) for one in after],
        "throughput after / before, best": round(min(before) / min(after), 3),
        "throughput after / before, median": median_ratio(before, after),
        "the control's after / before, median": median_ratio(control_before, control_after),
        "throughput after / before, by the control's": round(
            median_ratio(before, after) / median_ratio(control_before, control_after), 3
        ),
    }


def median_ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Of their medians."""
    return round(statistics.median(over) / statistics.median(under), 3)


def main() -> None:
    """Every fault, one after the other, on one server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    sizes = QUICK if parser.parse_args().quick else Sizes()
    figures: dict[str, Any] = {}
    started = time.monotonic()
    with embedded_server() as server:
        with connect(conninfo(server.url)) as connection:
            connection.execute(f"ALTER SYSTEM SET max_connections = {MAX_CONNECTIONS}".encode())
            make_article(connection)
            make_article(connection, "measured", index="none")
            connection.execute("CREATE TABLE bare (id bigint PRIMARY KEY, body text)")
        server.stop()
        server.start()
        stage = Stage(server, sizes)
        try:
            for number, (name, fault) in enumerate(FAULTS.items()):
                print(f"{name} …", file=sys.stderr)
                figures[name] = run_fault(stage, number, fault)
                print(figures[name], file=sys.stderr)
        finally:
            stage.close()
    figures["seconds in all"] = round(time.monotonic() - started)
    write_report("faults", figures | GOALS)


if __name__ == "__main__":
    main()
