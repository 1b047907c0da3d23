"""Query-time settings that the registry keeps with an index, for searches by name and in SQL."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.types.json import Jsonb


def stored_tuning(
    connection: psycopg.Connection, name: str, generation: int | None = None
) -> dict[str, Any]:
    """The query-time settings kept for an index: fields of ``SearchTuning``, no defaults.

    Args:
        connection: In autocommit mode.
        name: The index.
        generation: ``None``: of the one that serves.
    """
    row = connection.execute(
        "SELECT tuning FROM embedsql.semantic_index WHERE name = %s "
        "AND CASE WHEN %s::int IS NULL THEN state = 'serving' ELSE generation = %s END",
        [name, generation, generation],
    ).fetchone()
    return {} if row is None else dict(row[0])


def store_tuning(connection: psycopg.Connection, name: str, tuning: dict[str, Any]) -> None:
    """Keep query-time settings for an index, in place of those that were kept."""
    connection.execute(
        "UPDATE embedsql.semantic_index SET tuning = %s WHERE name = %s AND state = 'serving'",
        [Jsonb(tuning), name],
    )
