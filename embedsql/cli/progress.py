"""What a worker shows on a terminal while it drains: rows, then the phases of an index's build."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import psycopg
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from embedsql import status
from embedsql.cli.options import progress_console
from embedsql.database import connect
from embedsql.errors import ConnectionFailedError
from embedsql.installation import require_installed
from embedsql.vector_index import builds
from embedsql.worker.report import WorkerReport

LOOK_SECONDS = 0.5


class _RateColumn(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.0f}/s")


@contextlib.contextmanager
def drain_progress(conninfo: str, *, enabled: bool) -> Iterator[Callable[[WorkerReport], None]]:
    """Gives what to call after each batch."""
    if not enabled:
        yield lambda report: None
        return
    with connect(conninfo) as connection:
        require_installed(connection)
        waiting = sum(index.pending for index in status.index_status(connection))
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=progress_console) as progress:
        task = progress.add_task("embedding rows", total=waiting)

        def advance(report: WorkerReport) -> None:
            done = report.saved + report.removed + report.failed
            progress.update(task, completed=done, total=max(waiting, done))

        with _shown_builds(conninfo, progress):
            yield advance


@contextlib.contextmanager
def build_progress(conninfo: str, *, enabled: bool) -> Iterator[None]:
    """Shows the builds that run meanwhile."""
    if not enabled:
        yield
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _RateColumn())
    with (
        Progress(*columns, console=progress_console) as progress,
        _shown_builds(conninfo, progress),
    ):
        yield


@contextlib.contextmanager
def _shown_builds(conninfo: str, progress: Progress) -> Iterator[None]:
    """A bar for each index that is being built, looked at over a connection of its own."""
    done = threading.Event()

    def watch() -> None:
        # a display that fails must not stop the work
        with contextlib.suppress(psycopg.Error, ConnectionFailedError):
            _show_builds(conninfo, progress, done)

    watcher = threading.Thread(target=watch, name="embedsql-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _show_builds(conninfo: str, progress: Progress, done: threading.Event) -> None:
    bars: dict[str, TaskID] = {}
    with connect(conninfo) as connection:
        while not done.wait(LOOK_SECONDS):
            for build in builds(connection):
                bar = bars.get(build.table)
                if bar is None:
                    bar = bars[build.table] = progress.add_task("", total=None)
                progress.update(
                    bar,
                    description=f"index of {build.table}: {build.phase}",
                    completed=build.done,
                    total=build.total or None,
                )
