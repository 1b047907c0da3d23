"""A worker's connections, one for each of its threads, and what the server says on them."""

from __future__ import annotations

import psycopg
from pgvector.psycopg import register_vector

from embedsql.database import connect, is_pooled
from embedsql.errors import ConnectionFailedError, ExtensionError
from embedsql.installation import require_installed
from embedsql.naming import CHANNEL

# Errors that a new connection, later, may not meet. InternalError, since it covers a standby that
# refuses to be written to, and the time-out of a transaction, which ends the connection.
LOST = (psycopg.OperationalError, psycopg.InternalError, ConnectionFailedError)


def open_connection(conninfo: str) -> psycopg.Connection:
    """An autocommit connection that knows pgvector's types.

    Raises:
        ConnectionFailedError: With the server's words; or it is a standby, which takes no writes.
        SchemaVersionError: The database has no schema that this release works with.
        ExtensionError: pgvector's types are not to be found.
    """
    connection = connect(conninfo, application_name="embedsql worker")
    try:
        _refuse_standby(connection)
        require_installed(connection)
        _know_vectors(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def open_listening(conninfo: str, channel: str = CHANNEL) -> psycopg.Connection:
    """The same, told of what ``channel`` tells; not through a pooler: another would hear of it."""
    connection = open_connection(conninfo)
    try:
        if not is_pooled(connection):
            connection.execute(f"LISTEN {channel}")
    except BaseException:
        connection.close()
        raise
    return connection


def said(error: Exception) -> str:
    """An error's words in one line, with the hint of the database where it has one."""
    hint = error.diag.message_hint if isinstance(error, psycopg.Error) else None
    words = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    if isinstance(error, psycopg.errors.InsufficientPrivilege) and hint is None:
        # told by the function in the server's source, since its messages are translated
        if error.diag.source_function == "check_enable_rls":
            hint = "a worker must see every row: ALTER ROLE … BYPASSRLS"
        else:
            hint = "the owner mends it: embedsql grant worker ROLE"
    return " ".join((words or str(error)).split()) + (f" ({hint})" if hint else "")


def _refuse_standby(connection: psycopg.Connection) -> None:
    found = connection.execute("SELECT pg_catalog.pg_is_in_recovery()").fetchone()
    if found == (True,):
        raise ConnectionFailedError(
            "this server is a standby, which takes no writes: a worker works on its primary "
            "(of several hosts, target_session_attrs=read-write finds it)"
        )


def _know_vectors(connection: psycopg.Connection) -> None:
    try:
        register_vector(connection)
    except psycopg.ProgrammingError as error:
        if error.sqlstate is not None:  # the server's own refusal says more
            raise
        raise ExtensionError(
            "this role cannot find pgvector's types: their schema is not on its "
            "search_path, or it lacks USAGE there; embedsql doctor says what to do"
        ) from error
