"""What stands in the tables now, and who works: what ``embedsql status`` and metrics show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row


@dataclass(frozen=True)
class IndexStatus:
    """One row of the view ``embedsql.status``. Seconds, rows a second, bytes."""

    index: str
    rows: int
    chunks: int
    pending: int
    leased: int
    dead: int
    blank: int
    truncated: int
    oldest_pending_seconds: float | None
    rate: float
    bytes: int
    problem: str | None
    generation: int


@dataclass(frozen=True)
class ChangeStatus:
    """One row of the view ``embedsql.model_change``: a generation that does not serve."""

    index: str
    generation: int
    state: str
    rows: int
    chunks: int
    pending: int
    leased: int
    dead: int
    oldest_pending_seconds: float | None
    rate: float
    bytes: int
    problem: str | None


def model_changes(connection: psycopg.Connection) -> Sequence[ChangeStatus]:
    """What stands in the tables of the generations that do not serve."""
    cursor = connection.cursor(row_factory=class_row(ChangeStatus))
    return cursor.execute("SELECT * FROM embedsql.model_change").fetchall()


def index_status(connection: psycopg.Connection) -> Sequence[IndexStatus]:
    """What stands in the tables of each index's serving generation now."""
    cursor = connection.cursor(row_factory=class_row(IndexStatus))
    return cursor.execute("SELECT * FROM embedsql.status").fetchall()


@dataclass(frozen=True)
class WorkerStatus:
    """One row of ``embedsql.worker``: a worker as it last said of itself."""

    worker: str
    release: str
    started_at: datetime
    seen_seconds_ago: float
    rates: dict[str, float]
    saved: int
    failed: int
    embedded: int
    reused: int


def workers(connection: psycopg.Connection) -> Sequence[WorkerStatus]:
    """Who works or worked within the last hour without saying that it ended."""
    cursor = connection.cursor(row_factory=class_row(WorkerStatus))
    return cursor.execute(
        "SELECT worker, release, started_at, extract(epoch FROM now() - seen_at)::float8 AS "
        "seen_seconds_ago, rates, saved, failed, embedded, reused "
        "FROM embedsql.worker ORDER BY started_at"
    ).fetchall()
