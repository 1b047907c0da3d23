"""``embedsql worker | status | verify``: keeping vectors and rows in agreement."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import FrameType
from typing import Annotated

import psycopg
import typer
from rich.table import Table

from embedsql import registry
from embedsql.cli.logs import configure_logging
from embedsql.cli.options import (
    DatabaseUrl,
    Json,
    conninfo,
    console,
    note,
    open_database,
    openai_key,
    print_json,
    print_table,
    progress_console,
)
from embedsql.cli.progress import drain_progress
from embedsql.drift import find_drift
from embedsql.requeue import dead_letters
from embedsql.status import index_status, model_changes
from embedsql.status import workers as known_workers
from embedsql.verify import Verdict, verify_index
from embedsql.worker import Worker, WorkerOptions
from embedsql.worker.metrics import serve_metrics

DISAGREES = 3


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("worker")(worker)
    app.command("status")(status)
    app.command("verify")(verify)


def worker(
    drain: Annotated[
        bool, typer.Option("--drain", help="Exit when nothing is left to do.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, max=10_000, help="Rows claimed at once.")] = 256,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads of a local model. Default: its library's choice."),
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of Prometheus metrics.")
    ] = None,
    poll_interval: Annotated[
        float,
        typer.Option(
            min=0.05, help="Seconds between checks for work that no notification announced."
        ),
    ] = 2.0,
    queries: Annotated[
        bool,
        typer.Option(
            "--queries/--no-queries", help="Embed the questions of SQL search functions, too."
        ),
    ] = True,
    database_url: DatabaseUrl = None,
) -> None:
    """Embed new and changed rows until SIGTERM.

    With --drain, exit code 0 if every row is embedded, 3 if there are dead letters, 1 if an
    index could not be worked on.
    """
    watched = drain and progress_console.is_terminal
    configure_logging(logging.WARNING if watched else logging.INFO)
    options = WorkerOptions(
        batch_size=batch_size,
        drain=drain,
        poll_interval=poll_interval,
        threads=threads,
        api_key=openai_key(),
        queries=queries,
    )
    info = conninfo(database_url)
    _spare_collections()
    with drain_progress(info, enabled=watched) as advance:
        running = Worker(info, options, on_batch=advance)
        _stop_on_signals(running)
        if metrics_port is not None:
            serve_metrics(metrics_port, info, running.report)
        report = running.run()
    if not drain:
        return
    note(
        f"{report.saved} rows embedded, {report.removed} removed; {report.embedded} chunks "
        f"through the model, {report.reused} reused"
    )
    if report.problems:
        raise typer.Exit(1)
    with open_database(database_url) as connection:
        if dead_letters(connection, None):
            note("there are dead letters: embedsql dead list")
            raise typer.Exit(DISAGREES)


def status(as_json: Json = False, database_url: DatabaseUrl = None) -> None:
    """Show each index's rows, chunks, pending and dead rows, and the workers."""
    with open_database(database_url) as connection:
        found = index_status(connection)
        changes = model_changes(connection)
        workers = known_workers(connection)
    if as_json:
        print_json(
            {
                "indexes": [
                    asdict(index)
                    | {"change": [asdict(one) for one in changes if one.index == index.index]}
                    for index in found
                ],
                "workers": [asdict(worker) for worker in workers],
            }
        )
        return
    counts = ("rows", "chunks", "pending", "leased", "dead", "blank", "truncated")
    table = Table("index", *counts, "oldest", "rows/s", "size", box=None)
    for index in found:
        age = index.oldest_pending_seconds
        table.add_row(
            index.index,
            *(str(getattr(index, count)) for count in counts),
            "" if age is None else f"{age:.0f} s",
            f"{index.rate:.1f}",
            f"{index.bytes / 1e6:.1f} MB",
        )
    print_table(table)
    for index in found:
        if index.problem:
            console.print(f"{index.index} is left alone: {index.problem}")
    for change in changes:
        console.print(
            f"{change.index} generation {change.generation} is {change.state}: {change.rows} rows, "
            f"{change.chunks} chunks, {change.pending + change.leased} pending, {change.dead} dead",
        )
    for worker in workers:
        said = f"worker {worker.worker}, seen {worker.seen_seconds_ago:.0f} s ago: "
        console.print(f"{said}{worker.saved} rows, {worker.failed} failed")


def verify(
    repair: Annotated[
        bool, typer.Option("--repair", help="Queue what is wrong, for a worker to repair.")
    ] = False,
    as_json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Check that every row's vectors agree with its current text; exit code 3 if not.

    Also names a source table that no longer fits its index's declaration, and what repairs that.
    """
    verdicts: dict[str, Verdict] = {}
    problems: dict[str, Sequence[str]] = {}
    with open_database(database_url) as connection:
        for unreadable in registry.unreadable_indexes(connection):
            problems[unreadable.label] = [unreadable.problem]
        for index in registry.all_indexes(connection):
            if drift := find_drift(connection, index):
                problems[index.label] = drift
            try:
                verdicts[index.label] = verify_index(connection, index, repair=repair)
            except psycopg.ProgrammingError:
                if not drift:
                    raise
    total = sum(verdicts.values(), Verdict())
    ok = total.ok and not problems
    if as_json:
        print_json({"ok": ok, **asdict(total), "problems": problems})
    else:
        _say_verdicts(verdicts, problems)
    if not ok:
        raise typer.Exit(DISAGREES)


def _say_verdicts(verdicts: Mapping[str, Verdict], problems: Mapping[str, Sequence[str]]) -> None:
    for name, verdict in verdicts.items():
        counts = ", ".join(f"{count} {what}" for what, count in asdict(verdict).items() if count)
        typer.echo(f"{name}: {counts or 'all rows agree with their vectors'}")
    for name, found in problems.items():
        for problem in found:
            typer.echo(f"{name}: {problem}")


def _spare_collections() -> None:
    """Have the garbage collector run rarely: a batch makes thousands of objects and no cycles."""
    gc.freeze()  # modules and the like stay for good: they need no scan
    gc.set_threshold(20_000, 20, 20)


def _stop_on_signals(running: Worker) -> None:
    def stop(signum: int, frame: FrameType | None) -> None:
        running.stop()
        # a second signal ends the process at once: leases and the log are made for that
        signal.signal(signum, lambda *_: os._exit(128 + signum))

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
