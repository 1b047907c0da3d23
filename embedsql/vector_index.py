"""The approximate indexes of a semantic index: built once its rows are embedded, and rebuilt.

Filling a live HNSW index row by row is 4 to 12 times slower than building it afterwards; until
then a search is exact.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import NamedTuple

import psycopg
from psycopg import sql

from embedsql import ddl, sqlfile
from embedsql.build_memory import build_memory, set_build_memory
from embedsql.database import is_pooled
from embedsql.ddl import ApproximateIndex
from embedsql.errors import DeclarationError
from embedsql.naming import bounded
from embedsql.registry import RegisteredIndex

log = logging.getLogger(__name__)

# while a concurrent build runs, its index looks like the INVALID leftover of a failed one
_STATE = """
SELECT i.indisvalid, EXISTS (
    SELECT FROM pg_catalog.pg_stat_progress_create_index AS p WHERE p.index_relid = i.indexrelid
)
FROM pg_catalog.pg_index AS i WHERE i.indexrelid = pg_catalog.to_regclass(%s)
"""

# on our own tables, and on those of the application that hold vectors of ours
_BUILDS = """
SELECT c.relname::text, p.phase, greatest(p.tuples_done, p.blocks_done),
       greatest(p.tuples_total, p.blocks_total)
FROM pg_catalog.pg_stat_progress_create_index AS p JOIN pg_catalog.pg_class AS c ON c.oid = p.relid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE p.datname = current_database() AND (n.nspname = 'embedsql' OR (n.nspname, c.relname) IN (
    SELECT source_schema, source_table FROM embedsql.semantic_index
    WHERE declaration ->> 'storage' = 'column'))
"""

# only who owns a table may index it
_OWNED = """
SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE')
FROM pg_catalog.pg_class AS c WHERE c.oid = pg_catalog.to_regclass(%s)
"""
# settings that a build changes in its session
_CHANGED = (
    *("statement_timeout", "lock_timeout"),
    *("maintenance_work_mem", "max_parallel_maintenance_workers"),
)
_told: set[tuple[str, str]] = set()  # databases and statements of which the log spoke already


class BuildState(IntEnum):
    """What became of an approximate index that should be there, the best first.

    Attributes:
        THERE: It exists, somebody else is building it, or it is not declared.
        BUILT: It was built just now.
        LEFT: This role may not build it: the owner of the table has to.
        WAITS: There are no vectors yet to build it from.
    """

    THERE = 0
    BUILT = 1
    LEFT = 2
    WAITS = 3


class Build(NamedTuple):
    """How far a build is: ``done`` of ``total`` rows or blocks of its phase, 0 where not known."""

    table: str
    phase: str
    done: int
    total: int


def builds(connection: psycopg.Connection) -> list[Build]:
    """The indexes of ours that are being built now, by anybody."""
    return [Build(*row) for row in connection.execute(_BUILDS).fetchall()]


def ensure_vector_indexes(connection: psycopg.Connection, index: RegisteredIndex) -> BuildState:
    """Build the approximate indexes that are not there; an INVALID leftover is replaced.

    A role that does not own the table goes on without: searches are exact until the owner built
    them, which the log says once. So does an IVFFlat index on an empty table, whose lists would be
    learnt from nothing.

    Returns:
        What became of the one that is furthest from being there.
    """
    wanted = ddl.wanted_indexes(index.spec, index.names)
    return max((_ensure(connection, index, one) for one in wanted), default=BuildState.THERE)


def rebuild_vector_indexes(connection: psycopg.Connection, index: RegisteredIndex) -> None:
    """Build each anew beside the one that serves, as declared now, and put it in its place.

    Args:
        connection: In autocommit mode, of the table's owner.
        index: The index; it has an approximate one.

    Raises:
        DeclarationError: It is declared without.
    """
    wanted = ddl.wanted_indexes(index.spec, index.names)
    if not wanted:
        raise DeclarationError(f"{index.spec.name} is declared without an approximate index")
    for one in wanted:
        rows = _count(connection, one)
        fresh = bounded(one.name, "new")
        with _unhurried(connection):
            _drop(connection, one.called(fresh))  # of a rebuild that was cut short
            _build(connection, index, one, rows, _statement(one, rows, fresh))
            with connection.transaction():
                connection.execute("SET LOCAL lock_timeout = '10s'")
                old = one.called(one.name)
                connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(old), {})
                rename = sql.SQL("ALTER INDEX {} RENAME TO {}")
                name = sqlfile.identifier(one.name)
                connection.execute(rename.format(one.called(fresh), name), {})


def count_vectors(connection: psycopg.Connection, index: RegisteredIndex) -> int:
    """How many there are to be indexed."""
    return _count(connection, ddl.approximate_indexes(index.spec, index.names)[0])


def _ensure(
    connection: psycopg.Connection, index: RegisteredIndex, one: ApproximateIndex
) -> BuildState:
    there = one.called(one.name)
    found = connection.execute(_STATE, [sqlfile.text(there)]).fetchone()
    if found is not None and any(found):  # there, or some other worker is at it
        return BuildState.THERE
    rows = _count(connection, one)
    if one.method == "ivfflat" and not rows:
        log.info("%s has no vectors yet: its IVFFlat index waits for them", index.label)
        return BuildState.WAITS
    statement = _statement(one, rows)
    owned = connection.execute(_OWNED, [sqlfile.text(one.table)]).fetchone()
    if owned is not None and not owned[0]:
        _leave_to_owner(connection, index, statement)
        return BuildState.LEFT
    with _unhurried(connection):
        if found is not None:
            _drop(connection, there)
        try:
            _build(connection, index, one, rows, statement)
        except psycopg.errors.DuplicateTable:  # another worker was faster
            return BuildState.THERE
    return BuildState.BUILT


def _count(connection: psycopg.Connection, one: ApproximateIndex) -> int:
    row = connection.execute(one.count(), {}).fetchone()
    return 0 if row is None else int(row[0])


def _statement(one: ApproximateIndex, rows: int, name: str | None = None) -> str:
    statement = one.create(lists=one.spec.ivfflat.lists_for(rows), name=name)
    assert statement is not None, "the index is declared without it"
    return statement


def _build(
    connection: psycopg.Connection,
    index: RegisteredIndex,
    one: ApproximateIndex,
    rows: int,
    statement: str,
) -> None:
    needed = build_memory(one, rows)
    given = set_build_memory(connection, needed)
    if index.aside and not is_pooled(
        connection
    ):  # nobody waits for it: one core, so that searches keep the others
        connection.execute("SET max_parallel_maintenance_workers = 0")
    log.info(
        "building the index of the %s of %s: %d of them, about %d MB to build it in, %d MB "
        "allowed%s",
        one.of,
        index.label,
        rows,
        needed >> 20,
        given >> 20,
        "" if given >= needed else " (slower; raise maintenance_work_mem for this role)",
    )
    connection.execute(statement.encode())


def _drop(connection: psycopg.Connection, name: sql.Identifier) -> None:
    connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(name), {})


@contextmanager
def _unhurried(connection: psycopg.Connection) -> Iterator[None]:
    """A build takes as long as it takes, whatever the role's defaults are; but through a pooler."""
    if is_pooled(connection):  # what is set here would be set for another client
        yield
        return
    connection.execute("SET statement_timeout = 0")
    connection.execute("SET lock_timeout = 0")
    try:
        yield
    finally:
        if not connection.broken:
            for setting in _CHANGED:
                connection.execute(f"RESET {setting}".encode())


def _leave_to_owner(connection: psycopg.Connection, index: RegisteredIndex, statement: str) -> None:
    told = (connection.info.dsn, statement)
    if told not in _told:
        _told.add(told)
        log.warning(
            "searches of %s are exact until the owner of its tables builds the vector index, which "
            "this role may not: run a worker as the owner once (embedsql worker --drain), or: %s",
            index.spec.name,
            " ".join(statement.split()),
        )
