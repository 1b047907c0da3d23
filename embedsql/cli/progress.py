"""A progress bar while a worker drains, on a terminal only."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from embedsql import registry
from embedsql.cli.options import progress_console
from embedsql.database import connect
from embedsql.installation import require_installed
from embedsql.report import WorkerReport


@contextlib.contextmanager
def drain_progress(conninfo: str, *, enabled: bool) -> Iterator[Callable[[WorkerReport], None]]:
    """Gives what to call after each batch."""
    if not enabled:
        yield lambda report: None
        return
    with connect(conninfo) as connection:
        require_installed(connection)
        waiting = sum(index.pending for index in registry.status(connection))
    columns = (
        TextColumn("embedding"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows,"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=progress_console) as progress:
        task = progress.add_task("embedding", total=waiting)

        def advance(report: WorkerReport) -> None:
            done = report.saved + report.removed + report.failed
            progress.update(task, completed=done, total=max(waiting, done))

        yield advance
