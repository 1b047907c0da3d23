"""Wait until a generation holds every row, and see that its approximate indexes are built."""

from __future__ import annotations

import time

import psycopg

from embedsql import ddl, sqlfile
from embedsql.errors import IndexNotFoundError, ModelChangeError
from embedsql.reembed.stand_in import StandIn
from embedsql.registry import RegisteredIndex, find_generations
from embedsql.slots import Slots
from embedsql.vector_index import builds, count_vectors, ensure_vector_indexes

POLL_SECONDS = 0.2
GRACE_SECONDS = 5.0

_BUILT = """
SELECT coalesce((SELECT i.indisvalid FROM pg_catalog.pg_index AS i
                 WHERE i.indexrelid = pg_catalog.to_regclass(%s)), false)
"""


def fill(connection: psycopg.Connection, index: RegisteredIndex, stand_in: StandIn) -> None:
    """Wait until the backfill is over and the approximate indexes built, by a worker or here.

    Args:
        connection: In autocommit mode.
        index: The generation.
        stand_in: Who embeds meanwhile.

    Raises:
        ModelChangeError: The generation is gone, or workers leave it alone.
    """
    while _backfilling(connection, index):
        stand_in.ensure(connection)
        time.sleep(POLL_SECONDS)
    build_from = time.monotonic() + GRACE_SECONDS
    while not is_built(connection, index):
        stand_in.ensure(connection)
        # a worker builds them at once, if its role may: give it time, lest two build the same
        nobody = time.monotonic() >= build_from and not _being_built(connection, index)
        if nobody and not stand_in.works:
            ensure_vector_indexes(connection, index)
        time.sleep(POLL_SECONDS)


def is_built(connection: psycopg.Connection, index: RegisteredIndex) -> bool:
    """Whether the approximate indexes that are to be there are, and valid."""
    return all(
        _is_valid(connection, one)
        # lists are learnt from vectors: without any, an IVFFlat index is not built yet
        or (one.method == "ivfflat" and not count_vectors(connection, index))
        for one in ddl.wanted_indexes(index.spec, index.names)
    )


def _is_valid(connection: psycopg.Connection, one: ddl.ApproximateIndex) -> bool:
    name = sqlfile.text(one.called(one.name))
    found = connection.execute(_BUILT, [name]).fetchone()
    return found is not None and bool(found[0])


def behind(connection: psycopg.Connection, index: RegisteredIndex, serving: RegisteredIndex) -> int:
    """How many keys a generation has yet to deal with that the serving one has dealt with."""
    slots, other = Slots(index.spec, index.names), Slots(serving.spec, serving.names)
    statement = sqlfile.statement(
        __package__,
        "behind.sql",
        source=slots.source,
        key_columns=slots.key_columns,
        log=slots.log,
        batch=slots.batch,
        batch_arrays=slots.arrays_of("b"),
        serving_log=other.log,
    )
    # a plan that is kept might take its locks in another order
    found = connection.execute(statement, {"index_id": index.index_id}, prepare=False).fetchone()
    return 0 if found is None else int(found[0])


def dead(connection: psycopg.Connection, index: RegisteredIndex, serving: RegisteredIndex) -> int:
    """How many rows are dead letters of a generation and none of the serving one."""
    statement = sqlfile.statement(__package__, "dead.sql")
    values = {"index_id": index.index_id, "serving_id": serving.index_id}
    found = connection.execute(statement, values).fetchone()
    return 0 if found is None else int(found[0])


def look_again(connection: psycopg.Connection, index: RegisteredIndex) -> RegisteredIndex:
    """The generation as the registry has it now.

    Raises:
        ModelChangeError: It is gone, or workers leave it alone.
    """
    try:
        found = {one.index_id: one for one in find_generations(connection, index.spec.name)}
    except IndexNotFoundError:
        found = {}
    now = found.get(index.index_id)
    if now is None or now.state == "dropping":
        raise ModelChangeError(f"{index.label} was dropped meanwhile")
    if now.problem is not None:
        raise ModelChangeError(f"workers leave {now.label} alone: {now.problem}")
    return now


def _being_built(connection: psycopg.Connection, index: RegisteredIndex) -> bool:
    tables = (index.names.chunk, index.spec.table)
    return any(build.table in tables for build in builds(connection))


def _backfilling(connection: psycopg.Connection, index: RegisteredIndex) -> bool:
    return look_again(connection, index).backfilling
