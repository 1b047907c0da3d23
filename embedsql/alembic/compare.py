"""Autogenerate: which operations bring a database to what the models declare."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from alembic.operations import MigrateOperation, ops
from sqlalchemy.engine import Connection

from embedsql import schema
from embedsql.alembic.changes import SOURCE_FIELDS, needs_new_vectors, rebuilds_vector_index
from embedsql.alembic.checks import check_name, check_proposed
from embedsql.alembic.creation_operations import CreateSemanticIndexOp, DropSemanticIndexOp
from embedsql.alembic.declarations import Declared, declared_indexes
from embedsql.alembic.differences import Difference, NotComparableError, differences
from embedsql.alembic.found import (
    FoundIndex,
    find_source,
    installed_version,
    is_being_built,
    registered_indexes,
)
from embedsql.alembic.literals import changed_fields
from embedsql.alembic.operations import (
    ChangeSemanticIndexOp,
    RebuildVectorIndexOp,
    RepairSemanticIndexOp,
    ResumeSemanticIndexOp,
    SuspendSemanticIndexOp,
)
from embedsql.alembic.schema_operations import InstallEmbedsqlOp
from embedsql.ddl import approximate_indexes
from embedsql.naming import ObjectNames
from embedsql.spec import IndexSpec

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext

log = logging.getLogger("alembic.autogenerate.embedsql")  # shown where Alembic's own lines are

OPTION = "embedsql"  # of context.configure(): how env.py asks for this comparison
_REPAIRABLE = frozenset({"index", "view", "function", "trigger"})

# operations before those on tables, and after them
_Placed = tuple[list[MigrateOperation], list[MigrateOperation]]


def compare_semantic_indexes(
    context: AutogenContext, upgrade: ops.UpgradeOps, schemas: Collection[str | None]
) -> None:
    """Alembic's comparator of semantic indexes; silent where ``embedsql_hooks`` are not in use.

    Raises:
        DeclarationError: A declaration cannot be.
        ConfigurationError: Its model or dimensions cannot.
        SchemaVersionError: The database holds a newer schema of the kit.
    """
    bind = context.connection
    if bind is None or bind.dialect.name != "postgresql" or not context.opts.get(OPTION):
        return
    installed = installed_version(bind)
    schema.refuse_newer(installed)
    registered = registered_indexes(bind) if installed else {}
    default = bind.dialect.default_schema_name or "public"
    declared = declared_indexes(context.metadata, bind, registered, default)
    declared = {
        name: each
        for name, each in declared.items()
        if _is_meant(context, each.spec)
        and context.run_object_filters(each.table, each.table.name, "table", False, None)
    }
    before, after = _install(installed, declared, registered)
    for name, found in registered.items():
        here = found.spec.schema in schemas or (found.spec.schema == default and None in schemas)
        if name not in declared and here and _is_meant(context, found.spec):
            log.info("Detected removed semantic index %r", name)
            before.append(DropSemanticIndexOp(found.spec, partitioned=_partitioned(bind, found)))
    for name, each in declared.items():
        early, late = _compare(bind, each, registered.get(name), upgrade.ops)
        before += early
        after += late
    upgrade.ops[:] = [*before, *upgrade.ops, *after]


def _install(
    installed: int, declared: Mapping[str, Declared], registered: Mapping[str, FoundIndex]
) -> _Placed:
    if installed == schema.LATEST or not (declared or registered):
        return [], []
    return [InstallEmbedsqlOp(schema.LATEST, installed)], []


def _compare(
    bind: Connection, declared: Declared, found: FoundIndex | None, others: list[Any]
) -> _Placed:
    spec, name = declared.spec, declared.spec.name
    source = find_source(bind, spec.schema, spec.table)
    partitioned = declared.partitioned if source is None else source.partitioned
    if found is None:
        log.info("Detected added semantic index %r", name)
        check_name(bind, spec, others)
        check_proposed(bind, declared, source)
        return [], [CreateSemanticIndexOp(spec, partitioned=partitioned)]
    # A model change to this declaration is under way. Until its switch, the serving generation has
    # to agree with its own declaration, not with the new one.
    if spec in found.next:
        log.info("Semantic index %r is being made as declared, beside the one that serves", name)
        spec = found.spec
    before = changed_fields(found.spec, spec)
    if before:
        log.info("Detected changed semantic index %r: %s", name, ", ".join(before))
        check_proposed(bind, declared, source)
    alters_type = _alters_type(others, spec)
    new_vectors = needs_new_vectors(found.spec, spec)
    if before.keys() & SOURCE_FIELDS or (new_vectors and alters_type):
        return _anew(found.spec, spec, _partitioned(bind, found), partitioned)
    if new_vectors:
        return [], [ChangeSemanticIndexOp(spec, before=before, partitioned=partitioned)]
    differing = _differences(bind, found, partitioned)
    if any(each.kind not in _REPAIRABLE for each in differing):
        return _anew(found.spec, spec, partitioned, partitioned)
    changes = list(_changes(bind, found, spec, before, differing, partitioned))
    if alters_type:
        return [SuspendSemanticIndexOp(found.spec, partitioned=partitioned)], [
            ResumeSemanticIndexOp(found.spec, partitioned=partitioned),
            *changes,
        ]
    return [], changes


def _changes(
    bind: Connection,
    found: FoundIndex,
    spec: IndexSpec,
    before: dict[str, Any],
    differing: list[Difference],
    partitioned: bool,
) -> Iterator[MigrateOperation]:
    """What needs no other vectors."""
    names = ObjectNames(spec.name, found.generation)
    approximate = {one.name: one for one in approximate_indexes(spec, names)}
    own = {each for each in differing if each.name in approximate}
    if set(differing) - own:
        yield RepairSemanticIndexOp(spec, partitioned=partitioned)
    is_wrong = any(
        not is_being_built(bind, approximate[each.name].schema, each.name) for each in own
    )
    if is_wrong or (before and rebuilds_vector_index(found.spec, spec)):
        yield RebuildVectorIndexOp(spec, before=before, partitioned=partitioned)
    elif before:
        yield ChangeSemanticIndexOp(spec, before=before, partitioned=partitioned)


def _anew(before: IndexSpec, after: IndexSpec, was_partitioned: bool, partitioned: bool) -> _Placed:
    """The old index goes before the tables change, the new one comes after them."""
    drop = DropSemanticIndexOp(before, partitioned=was_partitioned, keep_privileges=True)
    create = CreateSemanticIndexOp(after, partitioned=partitioned, keep_privileges=True)
    return [drop], [create]


def _differences(bind: Connection, found: FoundIndex, partitioned: bool) -> list[Difference]:
    names = ObjectNames(found.spec.name, found.generation)
    try:
        differing = differences(bind, found.spec, names, partitioned=partitioned)
    except NotComparableError as error:
        log.warning(
            "the objects of %r are not compared with its declaration, which takes a role that may "
            "create schemas: %s",
            found.spec.name,
            error,
        )
        return []
    for each in differing:
        log.info(
            "Detected that the %s %r of semantic index %r is not as declared: %s instead of %s",
            *(each.kind, each.name, found.spec.name, each.found, each.expected),
        )
    return differing


def _is_meant(context: AutogenContext, spec: IndexSpec) -> bool:
    """Whether the application's ``include_name`` lets an index and its table pass."""
    assert context.connection is not None, "the comparator has looked at it"
    default = context.connection.dialect.default_schema_name
    schema = None if spec.schema == default else spec.schema
    return context.run_name_filters(spec.table, "table", {"schema_name": schema}) and bool(
        context.run_name_filters(
            spec.name,
            "semantic_index",  # type: ignore[arg-type]
            {"schema_name": schema, "table_name": spec.table},
        )
    )


def _partitioned(bind: Connection, found: FoundIndex) -> bool:
    source = find_source(bind, found.spec.schema, found.spec.table)
    return source is not None and source.partitioned


def _alters_type(others: list[Any], spec: IndexSpec) -> bool:
    """Whether another operation alters the type of a column that our triggers look at."""
    columns = {*spec.watched, *(column.name for column in spec.key)}
    return any(
        isinstance(each, ops.AlterColumnOp)
        and each.modify_type is not None
        and each.table_name == spec.table
        and each.schema in (None, spec.schema)
        and each.column_name in columns
        for container in others
        if isinstance(container, ops.ModifyTableOps)
        for each in container.ops
    )
