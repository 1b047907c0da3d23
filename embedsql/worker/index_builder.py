"""The approximate vector index of a semantic index: built once its rows are embedded.

Filling a live HNSW index row by row is 4 to 12 times slower than building it afterwards; until
then a search is exact.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import psycopg
from psycopg import sql

from embedsql import ddl, sqlfile
from embedsql.registry import RegisteredIndex

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0

# while a concurrent build runs, its index looks like the INVALID leftover of a failed one
_STATE = """
SELECT i.indisvalid, EXISTS (
    SELECT FROM pg_catalog.pg_stat_progress_create_index AS p WHERE p.index_relid = i.indexrelid
)
FROM pg_catalog.pg_index AS i WHERE i.indexrelid = pg_catalog.to_regclass(%s)
"""

_BUILDS = """
SELECT c.relname::text, p.phase, greatest(p.tuples_done, p.blocks_done),
       greatest(p.tuples_total, p.blocks_total)
FROM pg_catalog.pg_stat_progress_create_index AS p JOIN pg_catalog.pg_class AS c ON c.oid = p.relid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'embedsql' AND p.datname = current_database()
"""

# only who owns a table may index it
_OWNED = """
SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE')
FROM pg_catalog.pg_class AS c WHERE c.oid = pg_catalog.to_regclass(%s)
"""
_told: set[tuple[str, str]] = set()  # databases and statements of which the log spoke already


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
        log.info("building the vector index of %s", index.label)
        connection.execute(statement.encode())
    except psycopg.errors.DuplicateTable:  # another worker was faster
        return False
    finally:
        connection.execute("RESET statement_timeout")
        connection.execute("RESET lock_timeout")
    return True


class Build(NamedTuple):
    """How far a build is: ``done`` of ``total`` rows or blocks of its phase, 0 where not known."""

    table: str
    phase: str
    done: int
    total: int


def builds(connection: psycopg.Connection) -> list[Build]:
    """The indexes of ours that are being built now, by anybody."""
    return [Build(*row) for row in connection.execute(_BUILDS).fetchall()]


def _leave_to_owner(connection: psycopg.Connection, index: RegisteredIndex, statement: str) -> None:
    told = (connection.info.dsn, statement)
    if told not in _told:
        _told.add(told)
        log.warning(
            "searches of %s are exact until the owner of its tables builds the vector index, which "
            "this role may not: run a worker as the owner once (embedsql worker --drain), or: %s",
            index.label,
            " ".join(statement.split()),
        )


class IndexBuilder:
    """Builds vector indexes in a thread and on connections of its own; batches go on meanwhile.

    Args:
        open_connection: Opens one, which a build has to itself.
        woken: Called when a look at an index is over.
    """

    def __init__(
        self, open_connection: Callable[[], psycopg.Connection], woken: Callable[[], None]
    ) -> None:
        self._open_connection = open_connection
        self._woken = woken
        self._connection: psycopg.Connection | None = None
        self._looks: dict[int, tuple[float, Future[None]]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embedsql-builder")

    def __enter__(self) -> IndexBuilder:
        return self

    def __exit__(self, *exc: object) -> None:
        # a build that is cut short leaves an INVALID index, which the next look replaces
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._connection is not None:
            self._connection.cancel_safe()
        self._thread.shutdown()

    def look(self, index: RegisteredIndex) -> None:
        """Have the index built if it is not there; asked again within a minute, do nothing.

        Raises:
            psycopg.Error: The look before this one failed.
            ConnectionFailedError: Likewise.
        """
        now = time.monotonic()
        last, look = self._looks.get(index.index_id, (-LOOK_SECONDS, None))
        if look is not None and not look.done():
            return
        if look is not None and (error := look.exception()) is not None:
            del self._looks[index.index_id]
            raise error
        if now - last >= LOOK_SECONDS:
            self._looks[index.index_id] = (now, self._thread.submit(self._look, index))

    def is_settled(self, index: RegisteredIndex) -> bool:
        """Whether the index was looked at and nothing is being built."""
        _, look = self._looks.get(index.index_id, (0.0, None))
        return look is not None and look.done() and look.exception() is None

    def _look(self, index: RegisteredIndex) -> None:
        try:
            with self._open_connection() as self._connection:
                ensure_vector_index(self._connection, index)
        finally:
            self._connection = None
            self._woken()
