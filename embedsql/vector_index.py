"""The approximate vector index of a semantic index: built once its rows are embedded, and rebuilt.

Filling a live HNSW index row by row is 4 to 12 times slower than building it afterwards; until
then a search is exact.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import NamedTuple

import psycopg
from psycopg import sql

from embedsql import ddl, sqlfile
from embedsql.build_memory import build_memory, set_build_memory
from embedsql.errors import DeclarationError
from embedsql.naming import bounded
from embedsql.registry import RegisteredIndex
from embedsql.slots import Slots
from embedsql.vector_slots import VectorSlots

log = logging.getLogger(__name__)

# while a concurrent build runs, its index looks like the INVALID leftover of a failed one
_STATE = """
SELECT i.indisvalid, EXISTS (
    SELECT FROM pg_catalog.pg_stat_progress_create_index AS p WHERE p.index_relid = i.indexrelid
)
FROM pg_catalog.pg_index AS i WHERE i.indexrelid = pg_catalog.to_regclass(%s)
"""

# the tables of ours, and those of the application that hold vectors of ours
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
# what a build sets in its session
_CHANGED = (
    *("statement_timeout", "lock_timeout"),
    *("maintenance_work_mem", "max_parallel_maintenance_workers"),
)
_told: set[tuple[str, str]] = set()  # databases and statements of which the log spoke already


class BuildState(Enum):
    """What became of an approximate index that should be there."""

    THERE = "there, being built, or not meant to be"
    BUILT = "built now"
    WAITS = "waits for vectors"
    LEFT = "left to the owner of the table"


class Build(NamedTuple):
    """How far a build is: ``done`` of ``total`` rows or blocks of its phase, 0 where not known."""

    table: str
    phase: str
    done: int
    total: int


def builds(connection: psycopg.Connection) -> list[Build]:
    """The indexes of ours that are being built now, by anybody."""
    return [Build(*row) for row in connection.execute(_BUILDS).fetchall()]


def ensure_vector_index(connection: psycopg.Connection, index: RegisteredIndex) -> BuildState:
    """Build the approximate index if it is not there; an INVALID leftover is replaced.

    A role that does not own the table goes on without: searches are exact until the owner built
    it, which the log says once. So does an IVFFlat index on an empty table, whose lists would be
    learnt from nothing.
    """
    vector = VectorSlots(Slots(index.spec, index.names))
    if index.spec.index == "none":
        return BuildState.THERE
    found = connection.execute(_STATE, [sqlfile.text(vector.vector_index)]).fetchone()
    if found is not None and any(found):  # there, or some other worker is at it
        return BuildState.THERE
    rows = count_vectors(connection, index)
    if index.spec.index == "ivfflat" and not rows:
        log.info("%s has no vectors yet: its IVFFlat index waits for them", index.label)
        return BuildState.WAITS
    statement = _build_statement(index, rows)
    owned = connection.execute(_OWNED, [sqlfile.text(vector.indexed_table)]).fetchone()
    if owned is not None and not owned[0]:
        _leave_to_owner(connection, index, statement)
        return BuildState.LEFT
    with _unhurried(connection):
        if found is not None:
            _drop(connection, vector.vector_index)
        try:
            _build(connection, index, statement, rows)
        except psycopg.errors.DuplicateTable:  # another worker was faster
            return BuildState.THERE
    return BuildState.BUILT


def rebuild_vector_index(connection: psycopg.Connection, index: RegisteredIndex) -> None:
    """Build the index anew beside the one that serves, as declared now, and put it in its place.

    Args:
        connection: In autocommit mode, of the table's owner.
        index: The index; it has an approximate one.

    Raises:
        DeclarationError: It is declared without.
    """
    if index.spec.index == "none":
        raise DeclarationError(f"{index.spec.name} is declared without an approximate index")
    vector = VectorSlots(Slots(index.spec, index.names))
    name = index.names.vector_index
    fresh = bounded(name, "new")
    schema = index.spec.schema if vector.in_source else "embedsql"
    rows = count_vectors(connection, index)
    with _unhurried(connection):
        _drop(connection, sqlfile.identifier(schema, fresh))  # of a rebuild that was cut short
        _build(connection, index, _build_statement(index, rows, fresh), rows)
        with connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '10s'")
            connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(vector.vector_index), {})
            rename = sql.SQL("ALTER INDEX {} RENAME TO {}")
            new = sqlfile.identifier(schema, fresh)
            connection.execute(rename.format(new, sqlfile.identifier(name)), {})


def count_vectors(connection: psycopg.Connection, index: RegisteredIndex) -> int:
    """How many there are to be indexed."""
    vector = VectorSlots(Slots(index.spec, index.names))
    column = vector.column if vector.in_source else sql.SQL("*")
    statement = sql.SQL("SELECT count({}) FROM {}").format(column, vector.indexed_table)
    row = connection.execute(statement, {}).fetchone()
    return 0 if row is None else int(row[0])


def _build_statement(index: RegisteredIndex, rows: int, name: str | None = None) -> str:
    lists = index.spec.ivfflat.lists_for(rows)
    statement = ddl.vector_index_statement(index.spec, index.names, lists=lists, name=name)
    assert statement is not None, "the index is declared without an approximate index"
    return statement


def _build(
    connection: psycopg.Connection, index: RegisteredIndex, statement: str, rows: int
) -> None:
    needed = build_memory(index.spec, rows)
    given = set_build_memory(connection, needed)
    if index.aside:  # nobody waits for it: one core, so that searches keep the others
        connection.execute("SET max_parallel_maintenance_workers = 0")
    log.info(
        "building the vector index of %s: %d vectors, about %d MB to build it in, %d MB allowed%s",
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
    """A build takes as long as it takes, whatever the role's defaults are."""
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
