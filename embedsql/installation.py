"""Install, upgrade and remove the kit's schema, and check that a database has the right one."""

from __future__ import annotations

import logging
import re

import psycopg

from embedsql import schema
from embedsql.errors import ExtensionError, SchemaVersionError

log = logging.getLogger(__name__)

OLDEST_PGVECTOR = (0, 8, 0)  # iterative index scans
RECOMMENDED_PGVECTOR = (0, 8, 6)  # repairs of index corruption in 0.8.3 to 0.8.6
OLDEST_SERVER = 150000  # security_invoker views

_ADVISORY_LOCK = "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('embedsql install'))"


def install(connection: psycopg.Connection, version: int = schema.LATEST) -> int:
    """Bring the database to schema ``version``, extension included; nothing to do is no error.

    Returns:
        The version that was there before (0: none).

    Raises:
        ExtensionError: pgvector is missing, too old, or this role may not create it.
        SchemaVersionError: The database holds a newer schema than this release knows.
    """
    with connection.transaction():
        connection.execute(_ADVISORY_LOCK)
        _check_server(connection)
        _create_extension(connection)
        for statement in schema.extension_statements():
            connection.execute(statement.encode())
        before = installed_version(connection)
        schema.refuse_newer(before)
        if before < version:
            connection.execute(schema.upgrade_sql(before, version).encode())
    return before


def uninstall(connection: psycopg.Connection) -> int:
    """Remove the kit's schema and with it every semantic index; sources stay untouched.

    Returns:
        The version that was there (0: none).
    """
    with connection.transaction():
        connection.execute(_ADVISORY_LOCK)
        before = installed_version(connection)
        if before:
            # CASCADE would print a notice for each of our objects
            connection.execute("SET LOCAL client_min_messages = warning")
            connection.execute(schema.downgrade_sql(min(before, schema.LATEST)).encode())
    return before


def installed_version(connection: psycopg.Connection) -> int:
    """The version of the kit's schema in this database; 0 where there is none."""
    there = connection.execute(
        "SELECT pg_catalog.to_regclass('embedsql.installation') IS NOT NULL"
    ).fetchone()
    if there is None or not there[0]:
        return 0
    found = connection.execute("SELECT version FROM embedsql.installation").fetchone()
    return 0 if found is None else int(found[0])


def require_installed(connection: psycopg.Connection) -> None:
    """Refuse a database without the schema version that this release works with.

    Raises:
        SchemaVersionError: With the command that mends it.
    """
    found = installed_version(connection)
    if found == 0:
        info = connection.info
        raise SchemaVersionError(
            f"embedsql is not installed in the database {info.dbname!r} of {info.host}: name "
            "another (--database-url, DATABASE_URL), or run your migrations, or embedsql install"
        )
    schema.refuse_newer(found)
    if found < schema.LATEST:
        raise SchemaVersionError(
            f"the database holds schema version {found} of embedsql, this release needs "
            f"{schema.LATEST}: embedsql install"
        )


def _check_server(connection: psycopg.Connection) -> None:
    if connection.info.server_version < OLDEST_SERVER:
        raise ExtensionError(
            f"PostgreSQL {connection.info.server_version // 10000} is too old: embedsql needs 15"
        )


def _create_extension(connection: psycopg.Connection) -> None:
    available = connection.execute(
        "SELECT installed_version, default_version FROM pg_catalog.pg_available_extensions "
        "WHERE name = 'vector'"
    ).fetchone()
    if available is None:
        raise ExtensionError(
            "this server has no pgvector: install the extension's package for your PostgreSQL, or "
            "switch it on with your provider"
        )
    if available[0] is None:
        try:
            with connection.transaction():
                connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except psycopg.errors.InsufficientPrivilege as error:
            raise ExtensionError(
                "this role may not create the extension: ask an administrator to run "
                "CREATE EXTENSION vector"
            ) from error
    _check_pgvector(available[0] or available[1])


def _check_pgvector(version: str) -> None:
    parsed = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if parsed < OLDEST_PGVECTOR:
        raise ExtensionError(
            f"pgvector {version} is too old: embedsql needs 0.8.0, better 0.8.6 "
            "(ALTER EXTENSION vector UPDATE, once the server has it)"
        )
    if parsed < RECOMMENDED_PGVECTOR:
        log.warning("pgvector %s can corrupt HNSW indexes: better 0.8.6", version)
