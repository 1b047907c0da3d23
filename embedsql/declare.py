"""Make and remove a semantic index on a live database."""

from __future__ import annotations

import psycopg
import stamina
from psycopg import sql

from embedsql import ddl
from embedsql.catalog import (
    SourceTable,
    asks,
    check_name_free,
    check_text_columns,
    check_text_configuration,
    check_vector_column,
)
from embedsql.errors import DeclarationError
from embedsql.installation import installed_version, require_installed
from embedsql.naming import ObjectNames
from embedsql.registry import find_generations, is_registered
from embedsql.search import SearchTuning
from embedsql.spec import IndexSpec
from embedsql.sqlsearch import drop_function_statements, function_statements

# CREATE TRIGGER waits for open transactions that wrote the table, and every writer queues behind
# it meanwhile: so wait briefly, stand aside, try again
LOCK_TIMEOUT = "SET LOCAL lock_timeout = '2s'"
# how such a wait fails: by time-out, or earlier, where we are the victim of a deadlock
LOCKED = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)


def check_declaration(connection: psycopg.Connection, spec: IndexSpec, source: SourceTable) -> None:
    """Refuse a declaration that this database cannot carry.

    Raises:
        DeclarationError: With what is wrong and what there is instead.
    """
    check_text_columns(source, spec.watched)
    if spec.storage == "column":
        check_vector_column(source, spec.vector_column, spec.vector_type)
    if installed_version(connection) and is_registered(connection, spec.name):
        raise DeclarationError(
            f"there is a semantic index {spec.name!r} already; choose another name (--name), or "
            f"drop that one: embedsql drop {spec.name}"
        )
    check_name_free(asks(connection), spec.schema, spec.name)
    if spec.lexical is not None:
        check_text_configuration(asks(connection), spec.lexical)


def create_statements(
    spec: IndexSpec,
    *,
    space: str | None = None,
    partitioned: bool = False,
    names: ObjectNames | None = None,
    tuning: SearchTuning | None = None,
) -> list[str]:
    """The statements that make a semantic index, its functions last; all but its vector index.

    The arguments are those of ``ddl.create_statements`` and ``sqlsearch.function_statements``.
    """
    made = ddl.create_statements(spec, space=space, partitioned=partitioned, names=names)
    return made + function_statements(spec, names, tuning)


def drop_statements(spec: IndexSpec) -> list[str]:
    """The statements that remove a semantic index and all it made; the source table stays."""
    return drop_function_statements(spec) + ddl.drop_statements(spec)


def create_index(
    connection: psycopg.Connection, spec: IndexSpec, source: SourceTable, space: str | None = None
) -> int:
    """Make the index, whole or not at all; a worker backfills the rows that exist.

    Returns:
        How many there are.

    Raises:
        DeclarationError: See ``check_declaration``; or the table stayed locked.
        SchemaVersionError: The kit's schema is not there.
    """
    require_installed(connection)
    check_declaration(connection, spec, source)
    statements = create_statements(spec, space=space, partitioned=source.partitioned)
    try:
        for attempt in lock_attempts():
            with attempt, connection.transaction():
                connection.execute(LOCK_TIMEOUT)
                for statement in statements:
                    connection.execute(statement.encode())
    except LOCKED as error:
        raise DeclarationError(
            f"the table {spec.table!r} stayed locked by other transactions; nothing was made, "
            "try again when it is quieter"
        ) from error
    rows, all_seen = _count_rows(connection, spec)
    if rows == 0 and all_seen:  # no backfill is needed: from now on every row is logged
        connection.execute(
            "UPDATE embedsql.semantic_index SET backfill_since = NULL "
            "WHERE name = %s AND backfill_since = created_at",  # no later one
            [spec.name],
        )
    return rows


def _count_rows(connection: psycopg.Connection, spec: IndexSpec) -> tuple[int, bool]:
    """The source's rows, and whether a policy hides none of them from this role."""
    count = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(spec.schema, spec.table))
    try:
        with connection.transaction():
            connection.execute("SET LOCAL row_security = off")
            counted, all_seen = connection.execute(count).fetchone(), True
    except psycopg.errors.InsufficientPrivilege:
        counted, all_seen = connection.execute(count).fetchone(), False
    return (0 if counted is None else int(counted[0])), all_seen


def drop_index(connection: psycopg.Connection, name: str) -> None:
    """Remove an index and all it made.

    Raises:
        IndexNotFoundError: There is none of this name.
    """
    require_installed(connection)
    for attempt in lock_attempts():
        with attempt, connection.transaction():
            connection.execute(LOCK_TIMEOUT)
            connection.execute("SET LOCAL client_min_messages = warning")
            for statement in drop_index_statements(connection, name):
                connection.execute(statement.encode())


def drop_index_statements(connection: psycopg.Connection, name: str) -> list[str]:
    """The statements that remove an index, every generation of it.

    Raises:
        IndexNotFoundError: There is none of this name.
    """
    generations = find_generations(connection, name)
    statements = drop_function_statements(generations[0].spec)
    for one in generations:
        statements += ddl.drop_trigger_statements(one.spec, one.names)
    statements += ddl.drop_views_statements(generations[0].spec)
    for one in generations:
        statements += ddl.drop_generation_statements(one.spec, one.names)
    return statements


def lock_attempts(attempts: int = 10) -> stamina._core._RetryContextIterator:
    """Repeat a transaction that did not get its locks at once, for a minute at most."""
    return stamina.retry_context(
        on=LOCKED,
        attempts=attempts,
        timeout=60,
        wait_initial=0.2,
        wait_max=3,
    )
