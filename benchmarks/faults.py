"""What is lost, and how fast it goes afterwards, when workers, server and connections are killed.

Under an unruly load: workers are killed with SIGKILL; the server is, with all its processes;
backends are terminated, five a second; every connection is taken. After each, ``verify``'s
verdict, and the same measured load as before it. ``--quick`` is a tenth of it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.fault_stage import MEASURED_ROWS, QUICK, FaultStage, Sizes
from benchmarks.load import bodies, unruly_load
from benchmarks.report import write_report
from benchmarks.stage import embedded_server, make_article
from benchmarks.workers import start_worker
from embedsql.database import connect, conninfo
from embedsql.errors import ConnectionFailedError

GOALS = {
    "floor": {"lost": 0, "throughput after / before": 0.9},
    "goal": {"lost": 0, "throughput after / before": 0.98},
}
BACKLOG_EACH = 200  # rows for each worker killed
MAX_CONNECTIONS = 40
BACKENDS = """SELECT pid FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND application_name <> 'hog'"""


def kill_workers(stage: FaultStage) -> dict[str, Any]:
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


def kill_server(stage: FaultStage) -> dict[str, Any]:
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


def terminate_backends(stage: FaultStage) -> dict[str, Any]:
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


def exhaust_connections(stage: FaultStage) -> dict[str, Any]:
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


FAULTS: dict[str, Callable[[FaultStage], dict[str, Any]]] = {
    "worker killed": kill_workers,
    "server killed": kill_server,
    "backends terminated": terminate_backends,
    "connections exhausted": exhaust_connections,
}


def run_fault(stage: FaultStage, number: int, fault: Callable[[FaultStage], dict[str, Any]]) -> Any:
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
        stage = FaultStage(server, sizes)
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
