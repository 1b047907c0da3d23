"""The registry ``embedsql.semantic_index``: which indexes there are, and how each is declared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from embedsql.errors import IndexNotFoundError
from embedsql.naming import ObjectNames
from embedsql.spec import IndexSpec


@dataclass(frozen=True)
class RegisteredIndex:
    """One row of the registry."""

    index_id: int
    spec: IndexSpec
    space: str | None
    generation: int
    backfilling: bool
    problem: str | None

    @property
    def names(self) -> ObjectNames:
        """The names of its database objects, in the serving generation."""
        return ObjectNames(self.spec.name, self.generation)


_SELECT = """
SELECT index_id, declaration, space, generation, problem,
       backfill_since IS NOT NULL OR EXISTS (
           SELECT FROM embedsql.bulk_insert AS b WHERE b.index_id = i.index_id
       ) AS backfilling
FROM embedsql.semantic_index AS i
"""


def all_indexes(connection: psycopg.Connection) -> Sequence[RegisteredIndex]:
    """Every registered index, by name."""
    cursor = connection.cursor(row_factory=dict_row)
    return [_load(row) for row in cursor.execute(_SELECT + " ORDER BY name").fetchall()]


def find_index(connection: psycopg.Connection, name: str) -> RegisteredIndex:
    """The index called ``name``.

    Raises:
        IndexNotFoundError: With the names there are.
    """
    cursor = connection.cursor(row_factory=dict_row)
    row = cursor.execute(_SELECT + " WHERE name = %s", [name]).fetchone()
    if row is None:
        known = connection.execute(
            "SELECT coalesce(string_agg(name, ', ' ORDER BY name), 'none') "
            "FROM embedsql.semantic_index"
        ).fetchone()
        raise IndexNotFoundError(
            f"there is no semantic index {name!r}; there are: {known[0] if known else 'none'}"
        )
    return _load(row)


def is_registered(connection: psycopg.Connection, name: str) -> bool:
    """Whether there is an index of this name."""
    found = connection.execute(
        "SELECT EXISTS (SELECT FROM embedsql.semantic_index WHERE name = %s)", [name]
    ).fetchone()
    return found is not None and bool(found[0])


def adopt_space(connection: psycopg.Connection, index_id: int, space: str) -> str:
    """Record the space of an index's vectors, unless one is recorded.

    Returns:
        The space that stands there now.
    """
    row = connection.execute(
        "UPDATE embedsql.semantic_index SET space = coalesce(space, %s) WHERE index_id = %s "
        "RETURNING space",
        [space, index_id],
    ).fetchone()
    return space if row is None else str(row[0])


def set_problem(connection: psycopg.Connection, index_id: int, problem: str | None) -> None:
    """Say why workers leave an index alone, or that they need not any more."""
    connection.execute(
        "UPDATE embedsql.semantic_index SET problem = %(problem)s "
        "WHERE index_id = %(index)s AND problem IS DISTINCT FROM %(problem)s",
        {"problem": problem, "index": index_id},
    )


def stored_tuning(connection: psycopg.Connection, name: str) -> dict[str, Any]:
    """The query-time settings kept for an index: fields of ``SearchTuning``, no defaults."""
    row = connection.execute(
        "SELECT tuning FROM embedsql.semantic_index WHERE name = %s", [name]
    ).fetchone()
    return {} if row is None else dict(row[0])


def store_tuning(connection: psycopg.Connection, name: str, tuning: dict[str, Any]) -> None:
    """Keep query-time settings for an index, in place of those that were kept."""
    connection.execute(
        "UPDATE embedsql.semantic_index SET tuning = %s WHERE name = %s", [Jsonb(tuning), name]
    )


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


def status(connection: psycopg.Connection) -> Sequence[IndexStatus]:
    """What stands in each index's tables now."""
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


def _load(row: dict[str, object]) -> RegisteredIndex:
    values = dict(row)
    declaration = values.pop("declaration")
    assert isinstance(declaration, dict)
    return RegisteredIndex(spec=IndexSpec.from_json(declaration), **values)  # type: ignore[arg-type]
