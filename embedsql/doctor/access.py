"""Findings about privileges: what the connection's role lacks to work on an index."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
from psycopg import sql

from embedsql import sqlfile
from embedsql.catalog import hides_rows
from embedsql.doctor.finding import Finding, Limits
from embedsql.grants import missing_grants
from embedsql.registry import RegisteredIndex
from embedsql.slots import Slots


def examine_access(
    connection: psycopg.Connection, index: RegisteredIndex, limits: Limits
) -> Iterator[Finding]:
    """GRANTs that a worker of this role would miss; row-level security that would stop it."""
    name = index.spec.name
    missing = missing_grants(connection, index.spec, "worker", index.names)
    if missing:
        yield Finding(
            "warning",
            f"this role lacks {len(missing)} privileges that a worker needs; their owner grants "
            "them",
            "\n".join(missing),
            name,
        )
    # a worker that does not see a row would take it for a deleted one, so it refuses to work
    if hides_rows(connection, index.spec):
        source = sqlfile.text(Slots(index.spec, index.names).source)
        (current,) = connection.execute("SELECT current_user::text").fetchall()
        role = sql.SQL("ALTER ROLE {} BYPASSRLS;").format(sqlfile.identifier(current[0]))
        yield Finding(
            "warning",
            f"row-level security of {source} hides rows from this role: a worker must see every "
            "row, so it refuses; a superuser mends it",
            sqlfile.text(role),
            name,
        )
