"""Findings about the server and this role: pgvector, search_path, what holds VACUUM back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.rows import dict_row

from embedsql import sqlfile
from embedsql.doctor.finding import Finding, Limits, megabytes, setting
from embedsql.installation import OLDEST_PGVECTOR, RECOMMENDED_PGVECTOR

_PGVECTOR = """
SELECT e.extversion, a.default_version, n.nspname AS schema,
       n.nspname = ANY (pg_catalog.current_schemas(true)) AS found,
       pg_catalog.current_setting('search_path') AS search_path,
       pg_catalog.quote_ident(n.nspname) AS quoted, current_user::text AS role,
       pg_catalog.current_database()::text AS database
FROM pg_catalog.pg_extension AS e JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace
LEFT JOIN pg_catalog.pg_available_extensions AS a ON a.name = e.extname
WHERE e.extname = 'vector'
"""

# a primary that does not hear what its standby reads
_FORGOTTEN = """
SELECT WHERE pg_is_in_recovery() AND NOT current_setting('hot_standby_feedback')::boolean
"""

# only what holds back the horizon of this database; of others' sessions one may see too little
_TRANSACTIONS = """
SELECT pid, extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds,
       extract(epoch FROM clock_timestamp() - query_start)::float8 AS query_seconds, state
FROM pg_catalog.pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
  AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
  AND xact_start < clock_timestamp() - make_interval(secs => %s)
ORDER BY xact_start
"""

_PREPARED = """
SELECT pg_catalog.quote_literal(gid), extract(epoch FROM clock_timestamp() - prepared)::float8
FROM pg_catalog.pg_prepared_xacts
WHERE database = current_database() AND prepared < clock_timestamp() - make_interval(secs => %s)
"""

_SLOTS = """
SELECT slot_name::text, active, active_pid, held FROM (
    SELECT *, pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                                   ELSE pg_current_wal_lsn() END, restart_lsn) AS held
    FROM pg_catalog.pg_replication_slots) AS s
WHERE held > %s ORDER BY held DESC
"""


def examine_server(connection: psycopg.Connection, limits: Limits) -> Iterator[Finding]:
    """What concerns every index of the database."""
    yield from _pgvector(connection)
    yield from _standby(connection)
    yield from _autovacuum(connection)
    yield from _transactions(connection, limits)
    yield from _slots(connection, limits)


def _pgvector(connection: psycopg.Connection) -> Iterator[Finding]:
    found = _one(connection, _PGVECTOR)
    if found is None:
        yield Finding("error", "pgvector is not in this database", "CREATE EXTENSION vector;")
        return
    version, offered = _numbers(found["extversion"]), _numbers(found["default_version"] or "")
    if version < RECOMMENDED_PGVECTOR:
        newer = offered > version
        first = "" if newer else " (first a newer package of it for the server)"
        harm = (
            "searches fail: embedsql needs 0.8.0"
            if version < OLDEST_PGVECTOR
            else "it can corrupt HNSW indexes: better 0.8.6"
        )
        yield Finding(
            "error" if version < OLDEST_PGVECTOR else "warning",
            f"pgvector is {found['extversion']}, and {harm}{first}",
            "ALTER EXTENSION vector UPDATE;",
        )
    if not found["found"]:
        path = ", ".join(filter(None, [found["search_path"], found["quoted"]]))
        yield Finding(
            "error",
            f"pgvector's schema {found['schema']!r} is not on the search_path of this role "
            f"({found['search_path']}): searches and workers do not find its types and operators",
            setting("search_path", path, role=found["role"], database=found["database"]),
        )


def _standby(connection: psycopg.Connection) -> Iterator[Finding]:
    if connection.execute(_FORGOTTEN).rowcount:
        yield Finding(
            "note",
            "this server is a standby, and its primary removes rows that are still being read "
            "here: a search that takes longer than max_standby_streaming_delay is cancelled then "
            "(SQLSTATE 40001). All other findings are mended on the primary",
            "ALTER SYSTEM SET hot_standby_feedback = on;\nSELECT pg_reload_conf();",
        )


def _autovacuum(connection: psycopg.Connection) -> Iterator[Finding]:
    for name in ("autovacuum", "track_counts"):
        row = connection.execute("SELECT pg_catalog.current_setting(%s)", [name]).fetchone()
        if row is not None and row[0] == "off":
            yield Finding(
                "warning",
                f"{name} is off: dead rows of the change logs are never removed, and the planner's "
                "statistics grow old",
                f"ALTER SYSTEM SET {name} = on;\nSELECT pg_reload_conf();",
            )


def _transactions(connection: psycopg.Connection, limits: Limits) -> Iterator[Finding]:
    cursor = connection.cursor(row_factory=dict_row)
    for row in cursor.execute(_TRANSACTIONS, [limits.transaction_seconds]).fetchall():
        query = "" if row["query_seconds"] is None else f", query {row['query_seconds']:.0f} s old"
        yield Finding(
            "warning",
            f"a transaction is open for {row['seconds']:.0f} s (pid {row['pid']}, {row['state']}"
            f"{query}): VACUUM removes nothing that died since, so logs and indexes grow",
            f"SELECT pg_terminate_backend({row['pid']});",
        )
    for gid, seconds in connection.execute(_PREPARED, [limits.transaction_seconds]).fetchall():
        yield Finding(
            "warning",
            f"the transaction {gid} is prepared for {seconds:.0f} s and not committed: VACUUM "
            "removes nothing that died since",
            f"ROLLBACK PREPARED {gid};",
        )


def _slots(connection: psycopg.Connection, limits: Limits) -> Iterator[Finding]:
    for name, active, pid, held in connection.execute(_SLOTS, [limits.slot_bytes]).fetchall():
        literal = sqlfile.text(sqlfile.literal(name))
        drop = f"SELECT pg_drop_replication_slot({literal});"
        reader = f"its reader (pid {pid}) is behind" if active else "nobody reads it"
        yield Finding(
            "note" if active else "warning",
            f"the replication slot {name} holds back {megabytes(float(held))} of write-ahead log, "
            f"and {reader}; if its reader is gone for good, drop it",
            f"SELECT pg_terminate_backend({pid});\n{drop}" if active else drop,
        )


def _one(connection: psycopg.Connection, query: str) -> dict[str, Any] | None:
    return connection.cursor(row_factory=dict_row).execute(query.encode()).fetchone()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
