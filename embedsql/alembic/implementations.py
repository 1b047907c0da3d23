"""What the operations do to a database, or print."""

from __future__ import annotations

import json
from functools import partial

from alembic.operations import Operations

from embedsql import ddl, declare, schema, sqlfile
from embedsql.alembic import vector_index
from embedsql.alembic.changes import needs_new_vectors, rebuilds_vector_index, replacing
from embedsql.alembic.differences import Difference, NotComparableError, differences
from embedsql.alembic.found import (
    generations,
    installed_version,
    registered_tuning,
)
from embedsql.alembic.literals import changed_fields
from embedsql.alembic.making import check_source, made_instead, names_of
from embedsql.alembic.operations import (
    ChangeSemanticIndexOp,
    RebuildVectorIndexOp,
    SemanticIndexOp,
)
from embedsql.alembic.running import is_offline, run
from embedsql.alembic.schema_operations import InstallEmbedsqlOp, UninstallEmbedsqlOp
from embedsql.errors import DeclarationError
from embedsql.naming import ObjectNames
from embedsql.slots import Slots

_script = partial(sqlfile.script, __package__)


def install(operations: Operations, operation: InstallEmbedsqlOp) -> None:
    """See ``op.install_embedsql``."""
    installed = operation.upgrade_from  # offline, the revision's word is taken
    if not is_offline(operations):
        installed = installed_version(operations.get_bind())
    schema.refuse_newer(installed)
    if installed >= operation.version:
        return
    script = schema.upgrade_sql(installed, operation.version)
    run(operations, [*schema.extension_statements(), *sqlfile.split(script)])


def uninstall(operations: Operations, operation: UninstallEmbedsqlOp) -> None:
    """See ``op.uninstall_embedsql``."""
    script = schema.downgrade_sql(operation.version, operation.downgrade_to)
    run(operations, sqlfile.split(script))


def create_vector_index(operations: Operations, operation: SemanticIndexOp) -> None:
    """See ``op.create_vector_index``."""
    vector_index.build(operations, operation.spec, names_of(operations, operation.spec))


def drop_vector_index(operations: Operations, operation: SemanticIndexOp) -> None:
    """See ``op.drop_vector_index``."""
    vector_index.remove(operations, operation.spec, names_of(operations, operation.spec))


def rebuild_vector_index(operations: Operations, operation: RebuildVectorIndexOp) -> None:
    """See ``op.rebuild_vector_index``."""
    before, after = operation.spec_before, operation.spec
    if needs_new_vectors(before, after):
        raise DeclarationError(
            f"a rebuilt index is not enough to change {', '.join(operation.before)} of "
            f"{after.name!r}: use op.change_semantic_index"
        )
    names = names_of(operations, after)
    meanwhile = _in_place(operations, operation, names)
    changed = changed_fields(before, after)
    vector_index.replace(operations, after, names, changed.keys(), meanwhile)


def change(operations: Operations, operation: ChangeSemanticIndexOp) -> None:
    """See ``op.change_semantic_index``."""
    before, after = operation.spec_before, operation.spec
    if needs_new_vectors(before, after):
        run(operations, made_instead(operations, operation))
        return
    names = names_of(operations, after)
    statements = _in_place(operations, operation, names)
    if rebuilds_vector_index(before, after):
        changed = changed_fields(before, after)
        vector_index.replace(operations, after, names, changed.keys(), statements)
    else:
        run(operations, statements)


def repair(operations: Operations, operation: SemanticIndexOp) -> None:
    """See ``op.repair_semantic_index``."""
    spec = operation.spec
    found = _differences(operations, operation)
    strays = [
        f"DROP TRIGGER {sqlfile.quoted(each.name)} ON {sqlfile.quoted(spec.schema, spec.table)};"
        for each in found
        if each.kind == "trigger" and each.expected is None
    ]
    name = sqlfile.literal(spec.name)
    find_unlogged = map(sqlfile.text, _script("find_unlogged.sql", name=name))
    run(operations, [*strays, *_made_anew(operations, operation), *find_unlogged])
    wrong = {each.name for each in found if each.kind == "index"}
    names = names_of(operations, spec)
    others = wrong - {names.vector_index, names.term_index}
    vector_index.mend_others(operations, spec, names, others)


def suspend(operations: Operations, operation: SemanticIndexOp) -> None:
    """See ``op.suspend_semantic_index``."""
    spec = operation.spec
    if not is_offline(operations) and len(generations(operations.get_bind(), spec.name)) > 1:
        raise DeclarationError(
            f"{spec.name!r} has a generation besides the one that serves, whose triggers are in "
            f"the way: first embedsql reembed {spec.name} --finish, or --abort"
        )
    run(operations, ddl.drop_trigger_statements(spec, names_of(operations, spec)))


def resume(operations: Operations, operation: SemanticIndexOp) -> None:
    """See ``op.resume_semantic_index``."""
    run(operations, _made_anew(operations, operation))


def _in_place(
    operations: Operations, operation: ChangeSemanticIndexOp, names: ObjectNames
) -> list[str]:
    """The statements that change all but the approximate index."""
    if not operation.before:
        return []
    changed = changed_fields(operation.spec_before, operation.spec)
    now = operation.spec.to_json()
    values = json.dumps({name: now[name] for name in changed})
    statements = _script(
        "set_declaration.sql",
        name=sqlfile.literal(names.index),
        changed=sqlfile.literal(values),
    )
    return [sqlfile.text(statements[0]), *_made_anew(operations, operation)]


def _made_anew(operations: Operations, operation: SemanticIndexOp) -> list[str]:
    """Functions, triggers, views and small indexes, replacing those that are there."""
    spec = operation.spec
    partitioned = check_source(operations, operation)
    slots = Slots(spec, names_of(operations, spec))
    due = ddl.trigger_events(spec, partitioned=partitioned)
    drops: list[str] = []
    for event in set(ddl.EVENTS) - set(due):
        function = sqlfile.kit(slots.names.trigger_function(event))
        trigger = sqlfile.identifier(slots.names.trigger(event))
        fill = {"trigger": trigger, "source": slots.source, "function": function}
        drops += map(sqlfile.text, _script("drop_trigger.sql", **fill))
    tuning = None
    if not is_offline(operations):
        tuning = registered_tuning(operations.get_bind(), spec.name, slots.names.generation)
    created = declare.create_statements(
        spec, names=slots.names, tuning=tuning, partitioned=partitioned
    )
    made = drops + [found for statement in created if (found := replacing(statement))]
    if slots.names.generation > 1:
        made += ddl.guard_statements(spec, slots.names)
    return made


def _differences(operations: Operations, operation: SemanticIndexOp) -> list[Difference]:
    """What a live database has otherwise; nothing where that cannot be asked."""
    if is_offline(operations):
        return []
    names = names_of(operations, operation.spec)
    partitioned = check_source(operations, operation)
    try:
        return differences(operations.get_bind(), operation.spec, names, partitioned=partitioned)
    except NotComparableError:
        return []
