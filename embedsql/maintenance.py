"""The approximate vector index of a semantic index: built once its rows are embedded.

Filling a live HNSW index row by row is 4 to 12 times slower than building it afterwards; until
then a search is exact.
"""

from __future__ import annotations

import logging

import psycopg
from psycopg import sql

from embedsql import ddl, sqlfile
from embedsql.registry import RegisteredIndex

log = logging.getLogger(__name__)

_STATE = """
SELECT i.indisvalid FROM pg_catalog.pg_index AS i
WHERE i.indexrelid = pg_catalog.to_regclass(%s)
"""


def ensure_vector_index(connection: psycopg.Connection, index: RegisteredIndex) -> bool:
    """Build the approximate index if it is not there; an INVALID leftover is replaced.

    Returns:
        Whether one was built now.
    """
    statement = ddl.vector_index_statement(index.spec, index.names)
    if statement is None:
        return False
    name = sqlfile.kit(index.names.vector_index)
    found = connection.execute(_STATE, [sqlfile.text(name)]).fetchone()
    if found is not None and found[0]:
        return False
    # one builder at a time; a session lock, since CONCURRENTLY runs in no transaction
    lock = [index.index_id]
    turn = connection.execute(
        "SELECT pg_try_advisory_lock(hashtext('embedsql vector index'), %s)", lock
    ).fetchone()
    if turn is None or not turn[0]:
        return False
    try:
        if found is not None:
            connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(name), {})
        log.info("building the vector index of %s", index.spec.name)
        connection.execute(statement.encode())
    finally:
        connection.execute("SELECT pg_advisory_unlock(hashtext('embedsql vector index'), %s)", lock)
    return True
