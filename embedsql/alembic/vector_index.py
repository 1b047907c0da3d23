"""The approximate indexes in a migration: built, replaced and removed while others go on."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from functools import partial

from alembic.operations import Operations
from psycopg import sql

from embedsql import ddl, sqlfile
from embedsql.alembic.changes import BUILD_FIELDS, TERM_FIELDS
from embedsql.alembic.found import is_valid_index
from embedsql.alembic.running import execute, is_offline, run, run_concurrently
from embedsql.ddl import ApproximateIndex
from embedsql.naming import ObjectNames, bounded
from embedsql.spec import IndexSpec

log = logging.getLogger("alembic.runtime.embedsql")

_script = partial(sqlfile.script, __package__)


def build(operations: Operations, spec: IndexSpec, names: ObjectNames) -> None:
    """Build those that are not there; an INVALID leftover of a build cut short is replaced."""
    for one in ddl.wanted_indexes(spec, names):
        statement = _create(operations, one, one.name)
        valid = _is_valid(operations, one)
        if statement is not None and not valid:
            leftover = [] if valid is None else [_drop(one, one.name)]
            run_concurrently(operations, [*leftover, statement])


def remove(operations: Operations, spec: IndexSpec, names: ObjectNames) -> None:
    """Remove those that are there."""
    drops = [_drop(one, one.name) for one in ddl.wanted_indexes(spec, names)]
    run_concurrently(operations, drops)


def replace(
    operations: Operations,
    spec: IndexSpec,
    names: ObjectNames,
    changed: Collection[str],
    meanwhile: Sequence[str],
) -> None:
    """Build as ``spec`` says beside those that are there, and let the new ones take their place.

    Where there is none yet, a worker is still embedding: it builds the new one afterwards.

    Args:
        operations: Of the revision.
        spec: The declaration that is to be.
        names: The index's objects.
        changed: The fields of the declaration that are others now; none: all are made anew.
        meanwhile: Run in the transaction in which they change places.
    """
    swaps: list[str] = []
    leftover: list[str] = []
    for one in ddl.approximate_indexes(spec, names):
        is_there = is_offline(operations) or _is_valid(operations, one) is not None
        if not (is_there and _concerns(one, changed)):
            continue
        new, old = bounded(one.name, "new"), bounded(one.name, "old")
        statement = _create(operations, one, new)
        if statement is not None:
            run_concurrently(operations, [_drop(one, new), _drop(one, old), statement])
            swaps += _swap(one, new, old)
        leftover.append(_drop(one, one.name if statement is None else old))
    if swaps or meanwhile:
        run(operations, [*swaps, *meanwhile])
    if leftover:
        run_concurrently(operations, leftover)


def _concerns(one: ApproximateIndex, changed: Collection[str]) -> bool:
    """Whether an index is to be made anew, since these fields of its declaration are others.

    Where none of them is what an index is built by, it is for what the database has otherwise.
    """
    fields = TERM_FIELDS if one.of == "terms" else BUILD_FIELDS - TERM_FIELDS | {"hnsw"}
    return BUILD_FIELDS.isdisjoint(changed) or not fields.isdisjoint(changed)


def mend_others(
    operations: Operations, spec: IndexSpec, names: ObjectNames, wrong: Collection[str]
) -> None:
    """Make other indexes of our tables anew, those called ``wrong``."""
    for name in sorted(wrong):
        quoted = sqlfile.quoted(name)
        for statement in ddl.create_statements(spec, names=names):
            if f" INDEX {quoted} " in statement:
                anew = statement.replace(" INDEX ", " INDEX CONCURRENTLY ", 1)
                run_concurrently(operations, [_dropped(sqlfile.kit(name)), anew])


def _create(operations: Operations, one: ApproximateIndex, name: str) -> str | None:
    """The statement; ``None``: no index is wanted, or an IVFFlat one has nothing to learn from.

    Offline, an IVFFlat index whose spec names no lists gets a hundred.
    """
    if one.method != "ivfflat" or is_offline(operations):
        return one.create(name=name)
    bind = operations.get_bind()
    rows: int = execute(bind, sqlfile.text(one.count())).scalar_one()
    if not rows:
        log.info("%s has no vectors yet: its IVFFlat index waits for them", one.spec.name)
        return None
    return one.create(lists=one.spec.ivfflat.lists_for(rows), name=name)


def _swap(one: ApproximateIndex, new: str, old: str) -> list[str]:
    statements: list[sql.Composed] = _script(
        "swap_vector_index.sql",
        current=one.called(one.name),
        old_name=sqlfile.identifier(old),
        built=one.called(new),
        name=sqlfile.identifier(one.name),
    )
    return [sqlfile.text(statement) for statement in statements]


def _drop(one: ApproximateIndex, name: str) -> str:
    return _dropped(one.called(name))


def _dropped(index: sql.Identifier) -> str:
    return f"DROP INDEX CONCURRENTLY IF EXISTS {sqlfile.text(index)};"


def _is_valid(operations: Operations, one: ApproximateIndex) -> bool | None:
    """Whether it is whole; ``None`` where there is none, or none can be asked for."""
    if is_offline(operations):
        return None
    return is_valid_index(operations.get_bind(), one.schema, one.name)
