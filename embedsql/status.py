"""What stands in the tables now, and who works: what ``embedsql status`` and metrics show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

import psycopg
from psycopg import sql
from psycopg.rows import class_row

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

_SERVING = "SELECT name FROM embedsql.semantic_index WHERE state = 'serving' ORDER BY name"
_STATUS = "SELECT {} FROM embedsql.index_status(%s, %s) WHERE state = 'serving'"


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
class QueueStatus:
    """What waits for an index. While a backfill goes on, ``pending`` is an estimate.

    Attributes:
        index: Its name.
        pending: Rows that wait.
        leased: Rows in a worker's hands.
        dead: Dead letters.
        oldest_pending_seconds: Age of the oldest change that waits.
        problem: Why workers leave the index alone, or what they wait for.
    """

    index: str
    pending: int
    leased: int
    dead: int
    oldest_pending_seconds: float | None
    problem: str | None


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
    """What stands in the tables of each index's serving generation now; all rows are counted.

    Args:
        connection: In autocommit mode.
    """
    return _of_each(connection, IndexStatus, counting=True)


def queue_status(connection: psycopg.Connection) -> Sequence[QueueStatus]:
    """What waits for each index, without counting its rows.

    Args:
        connection: In autocommit mode.
    """
    return _of_each(connection, QueueStatus, counting=False)


def _of_each(connection: psycopg.Connection, kind: type[T], *, counting: bool) -> list[T]:
    # One index in a statement: else, beside a transaction that truncates several sources in another
    # order, each would wait for the other, and the server might cancel the application's.
    names = connection.execute(_SERVING).fetchall()
    cursor = connection.cursor(row_factory=class_row(kind))
    columns = sql.SQL(", ").join(sql.Identifier(field.name) for field in fields(kind))
    statement = sql.SQL(_STATUS).format(columns)
    return [row for (name,) in names for row in cursor.execute(statement, [name, counting])]


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
