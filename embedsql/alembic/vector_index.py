"""The approximate index in a migration: built, replaced and removed while others go on."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from functools import partial

from alembic.operations import Operations
from psycopg import sql

from embedsql import ddl, sqlfile
from embedsql.alembic.found import is_valid_index
from embedsql.alembic.running import execute, is_offline, run, run_concurrently
from embedsql.naming import SCHEMA, ObjectNames, bounded
from embedsql.slots import Slots
from embedsql.spec import IndexSpec
from embedsql.vector_slots import VectorSlots

log = logging.getLogger(__name__)

_script = partial(sqlfile.script, __package__)


def build(operations: Operations, spec: IndexSpec, names: ObjectNames) -> None:
    """Build it, unless it is there; an INVALID leftover of a build cut short is replaced."""
    statement = _build_statement(operations, spec, names, names.vector_index)
    valid = _is_valid(operations, spec, names)
    if statement is None or valid:
        return
    leftover = [] if valid is None else [_drop(spec, names.vector_index)]
    run_concurrently(operations, [*leftover, statement])


def remove(operations: Operations, spec: IndexSpec, names: ObjectNames) -> None:
    """Remove it, if it is there."""
    run_concurrently(operations, [_drop(spec, names.vector_index)])


def replace(
    operations: Operations, spec: IndexSpec, names: ObjectNames, meanwhile: Sequence[str]
) -> None:
    """Build it as ``spec`` says beside the one that is there, and let it take that one's place.

    Where there is none yet, a worker is still embedding: it builds the new one afterwards.

    Args:
        operations: Of the revision.
        spec: The declaration that is to be.
        names: The index's objects.
        meanwhile: Run in the transaction in which the two change places.
    """
    new, old = bounded(names.vector_index, "new"), bounded(names.vector_index, "old")
    there = is_offline(operations) or _is_valid(operations, spec, names) is not None
    statement = _build_statement(operations, spec, names, new) if there else None
    swap: list[str] = []
    if statement is not None:
        run_concurrently(operations, [_drop(spec, new), _drop(spec, old), statement])
        swap = _swap(spec, names, new, old)
    if swap or meanwhile:
        run(operations, [*swap, *meanwhile])
    if there:
        run_concurrently(operations, [_drop(spec, old if swap else names.vector_index)])


def mend_others(
    operations: Operations, spec: IndexSpec, names: ObjectNames, wrong: Collection[str]
) -> None:
    """Make other indexes of our tables anew, those called ``wrong``."""
    for name in sorted(wrong):
        quoted = sqlfile.text(sqlfile.identifier(name))
        for statement in ddl.create_statements(spec, names=names):
            if f" INDEX {quoted} " in statement:
                anew = statement.replace(" INDEX ", " INDEX CONCURRENTLY ", 1)
                run_concurrently(operations, [_drop(spec, name, SCHEMA), anew])


def vector_index_schema(spec: IndexSpec) -> str:
    """Where it stands: with the table that carries it."""
    return spec.schema if spec.storage == "column" else SCHEMA


def _build_statement(
    operations: Operations, spec: IndexSpec, names: ObjectNames, name: str
) -> str | None:
    """The statement; ``None``: no index is wanted, or an IVFFlat one has nothing to learn from.

    Offline, an IVFFlat index whose spec names no lists gets a hundred.
    """
    if spec.index != "ivfflat" or is_offline(operations):
        return ddl.vector_index_statement(spec, names, name=name)
    vector = VectorSlots(Slots(spec, names))
    column = vector.column if vector.in_source else sql.SQL("*")
    count = sql.SQL("SELECT count({}) FROM {}").format(column, vector.indexed_table)
    bind = operations.get_bind()
    rows: int = execute(bind, sqlfile.text(count)).scalar_one()
    if not rows:
        log.info("%s has no vectors yet: its IVFFlat index waits for them", spec.name)
        return None
    lists = spec.ivfflat.lists_for(rows)
    return ddl.vector_index_statement(spec, names, lists=lists, name=name)


def _swap(spec: IndexSpec, names: ObjectNames, new: str, old: str) -> list[str]:
    schema = vector_index_schema(spec)
    statements: list[sql.Composed] = _script(
        "swap_vector_index.sql",
        current=sqlfile.identifier(schema, names.vector_index),
        old_name=sqlfile.identifier(old),
        built=sqlfile.identifier(schema, new),
        name=sqlfile.identifier(names.vector_index),
    )
    return [sqlfile.text(statement) for statement in statements]


def _drop(spec: IndexSpec, name: str, schema: str | None = None) -> str:
    index = sqlfile.identifier(schema or vector_index_schema(spec), name)
    return f"DROP INDEX CONCURRENTLY IF EXISTS {sqlfile.text(index)};"


def _is_valid(operations: Operations, spec: IndexSpec, names: ObjectNames) -> bool | None:
    """Whether it is whole; ``None`` where there is none, or none can be asked for."""
    if is_offline(operations):
        return None
    return is_valid_index(operations.get_bind(), vector_index_schema(spec), names.vector_index)
