"""The approximate vector index of a semantic index: built once its rows are embedded.

Filling a live HNSW index row by row is 4 to 12 times slower than building it afterwards; until
then a search is exact.
"""

from __future__ import annotations

import logging
from weakref import WeakKeyDictionary

import psycopg
from psycopg import sql

from embedsql import ddl, sqlfile
from embedsql.registry import RegisteredIndex

log = logging.getLogger(__name__)

# while a concurrent build runs, its index looks like the INVALID leftover of a failed one
_STATE = """
SELECT i.indisvalid, EXISTS (
    SELECT FROM pg_catalog.pg_stat_progress_create_index AS p WHERE p.index_relid = i.indexrelid
)
FROM pg_catalog.pg_index AS i WHERE i.indexrelid = pg_catalog.to_regclass(%s)
"""

# only who owns a table may index it
_OWNED = """
SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE')
FROM pg_catalog.pg_class AS c WHERE c.oid = pg_catalog.to_regclass(%s)
"""
# what each connection said already
_told: WeakKeyDictionary[psycopg.Connection, set[str]] = WeakKeyDictionary()


def ensure_vector_index(connection: psycopg.Connection, index: RegisteredIndex) -> bool:
    """Build the approximate index if it is not there; an INVALID leftover is replaced.

    A role that does not own the tables goes on without: searches are exact until the owner built
    it, which the log says once.

    Returns:
        Whether one was built now.
    """
    statement = ddl.vector_index_statement(index.spec, index.names)
    if statement is None:
        return False
    name = sqlfile.kit(index.names.vector_index)
    found = connection.execute(_STATE, [sqlfile.text(name)]).fetchone()
    if found is not None and any(found):  # there, or some other worker is at it
        return False
    owned = connection.execute(_OWNED, [sqlfile.text(sqlfile.kit(index.names.chunk))]).fetchone()
    if owned is not None and not owned[0]:
        _leave_to_owner(connection, index, statement)
        return False
    # a build takes as long as it takes, whatever the role's defaults are
    connection.execute("SET statement_timeout = 0")
    connection.execute("SET lock_timeout = 0")
    try:
        if found is not None:
            connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(name), {})
        log.info("building the vector index of %s", index.spec.name)
        connection.execute(statement.encode())
    except psycopg.errors.DuplicateTable:  # another worker was faster
        return False
    finally:
        connection.execute("RESET statement_timeout")
        connection.execute("RESET lock_timeout")
    return True


def _leave_to_owner(connection: psycopg.Connection, index: RegisteredIndex, statement: str) -> None:
    told = _told.setdefault(connection, set())
    if statement not in told:
        told.add(statement)
        log.warning(
            "searches of %s are exact until the owner of its tables builds the vector index, which "
            "this role may not: run a worker as the owner once (embedsql worker --drain), or: %s",
            index.spec.name,
            " ".join(statement.split()),
        )
