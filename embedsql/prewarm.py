"""Read an index into the server's memory: after a restart, the first searches wait for the disk."""

from __future__ import annotations

import psycopg

from embedsql import ddl, sqlfile
from embedsql.errors import ExtensionError
from embedsql.registry import RegisteredIndex
from embedsql.slots import Slots

# an index of ours is read before the table it points to: what was read last stays longest
_PREWARM = """
SELECT c.oid::regclass::text,
       pg_prewarm(c.oid) * pg_catalog.current_setting('block_size')::bigint
FROM unnest(%s::text[]) WITH ORDINALITY AS r (name, place)
JOIN pg_catalog.pg_class AS c ON c.oid = pg_catalog.to_regclass(r.name)
ORDER BY r.place
"""


def prewarm_index(connection: psycopg.Connection, index: RegisteredIndex) -> dict[str, int]:
    """Load the approximate indexes, the lexical one and the chunks, with ``pg_prewarm``.

    Args:
        connection: In autocommit mode.
        index: The index.

    Returns:
        Bytes that were read, by relation.

    Raises:
        ExtensionError: The server has no ``pg_prewarm``, or this role may not create it.
    """
    _ensure_extension(connection)
    slots = Slots(index.spec, index.names)
    approximate = ddl.approximate_indexes(index.spec, index.names)
    relations = [
        *(one.table for one in approximate),
        sqlfile.kit(slots.names.lexeme_index),
        *(one.called(one.name) for one in reversed(approximate)),
    ]
    names = list(dict.fromkeys(map(sqlfile.text, relations)))
    return dict(connection.execute(_PREWARM, [names]).fetchall())


def _ensure_extension(connection: psycopg.Connection) -> None:
    if connection.execute("SELECT FROM pg_extension WHERE extname = 'pg_prewarm'").rowcount:
        return  # on a standby, IF NOT EXISTS fails all the same
    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_prewarm")
    except (
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.UndefinedFile,
        psycopg.errors.ReadOnlySqlTransaction,  # a standby
    ) as error:
        raise ExtensionError(
            "prewarming needs the extension pg_prewarm: ask an administrator to run "
            "CREATE EXTENSION pg_prewarm, of a standby on its primary"
        ) from error
    except psycopg.errors.FeatureNotSupported as error:
        raise ExtensionError("this server does not have the extension pg_prewarm") from error
