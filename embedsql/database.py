"""Connections: one conninfo, from whatever spelling of a database URL the user has."""

from __future__ import annotations

import re

import psycopg
import sqlalchemy
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy.engine import Engine

from embedsql.errors import ConfigurationError, ConnectionFailedError, DatabaseError

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.:-]*|)://")
APPLICATION_NAME = "embedsql"
DEFAULTS = {
    "application_name": APPLICATION_NAME,
    "connect_timeout": "10",
    # notice a server that vanished behind a dead network within a minute, not in hours
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "6",
    "tcp_user_timeout": "45000",
}


def conninfo(url: str) -> str:
    """A libpq connection string from any spelling: SQLAlchemy's, libpq's, ``host=… dbname=…``.

    Raises:
        ConfigurationError: It is none of these. The message does not repeat the URL, which may
            hold a password.
    """
    plain = url.strip()
    url_parts = _URL.match(plain)
    if url_parts:
        scheme, rest = url_parts["scheme"], plain[url_parts.end() :]
        if scheme.partition("+")[0] not in ("postgresql", "postgres"):
            raise ConfigurationError(
                f"the database URL starts with {scheme!r}: embedsql needs PostgreSQL, as in "
                "postgresql://user@host/database"
            )
        # SQLAlchemy accepts a space in a URL, libpq does not
        plain = "postgresql://" + rest.replace(" ", "%20")
    try:
        given = conninfo_to_dict(plain)
    except (psycopg.ProgrammingError, UnicodeEncodeError) as error:
        raise ConfigurationError(
            "the database URL cannot be read; write postgresql://user:password@host:port/database"
            " (special characters of a password percent-encoded) or host=… dbname=… user=…"
        ) from error
    return make_conninfo("", **{**DEFAULTS, **given})


def connect(info: str, *, application_name: str = APPLICATION_NAME) -> psycopg.Connection:
    """An autocommit connection; transactions are opened where they are meant.

    Raises:
        ConnectionFailedError: With the server's words, without the password.
        DatabaseError: Its texts have no encoding, or a pooler carries no transactions.
    """
    try:
        connection = psycopg.connect(info, autocommit=True, application_name=application_name)
    except psycopg.OperationalError as error:
        raise ConnectionFailedError(_why(error)) from error
    if connection.info.parameter_status("client_encoding") == "SQL_ASCII":
        connection.close()
        raise DatabaseError(
            "the database's encoding is SQL_ASCII, so that nobody knows which characters its texts "
            "are made of; if they are all UTF-8, set PGCLIENTENCODING=UTF8, else move them to a "
            "database with an encoding"
        )
    if connection.info.parameter_status("standard_conforming_strings") == "off":
        # of the settings that a client makes, PgBouncer carries this one to each server connection
        connection.execute("SET standard_conforming_strings = on")
    if is_pooled(connection):
        # the next transaction may be on another server connection
        connection.prepare_threshold = None
        _require_transactions(connection)
    # not the database's default: after a wait for a lock, a claim must see what was committed
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    return connection


def storable(connection: psycopg.Connection, words: str) -> str:
    """What a column of the database can hold of an error's words, 1,000 characters at most."""
    encoding = connection.info.encoding
    return words[:1000].replace("\0", "").encode(encoding, "replace").decode(encoding)


def is_pooled(connection: psycopg.Connection) -> bool:
    """Whether a pooler such as PgBouncer stands between, so that a session's state is not ours.

    A pooler gives its clients process numbers of its own.
    """
    found = connection.execute("SELECT pg_catalog.pg_backend_pid()").fetchone()
    return found is None or found[0] != connection.info.backend_pid


def engine(info: str) -> Engine:
    """An SQLAlchemy engine on the same connection string."""
    return sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: _for_engine(info))


def _for_engine(info: str) -> psycopg.Connection:
    connection = psycopg.connect(info)
    if is_pooled(connection):
        connection.prepare_threshold = None
    connection.rollback()
    return connection


def _require_transactions(connection: psycopg.Connection) -> None:
    try:
        with connection.transaction():
            pass
    except psycopg.OperationalError as error:
        connection.close()
        if "statement pooling mode" not in str(error):  # a lost server's is the same SQLSTATE
            raise
        raise DatabaseError(
            f"the pooler carries no transactions ({_words(error)}): set its pool_mode to "
            "transaction or session, or connect without it"
        ) from error


def _why(error: psycopg.OperationalError) -> str:
    return f"cannot connect to the database: {_words(error)}"


def _words(error: psycopg.OperationalError) -> str:
    return " ".join(str(error).split())
