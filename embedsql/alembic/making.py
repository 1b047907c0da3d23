"""How a semantic index is made and removed; where it is made anew, roles keep their privileges."""

from __future__ import annotations

from alembic.operations import Operations

from embedsql import ddl, declare
from embedsql.alembic.checks import check_made, existing_source
from embedsql.alembic.creation_operations import CreationOp
from embedsql.alembic.found import registered_generation
from embedsql.alembic.operations import ChangeSemanticIndexOp, SemanticIndexOp
from embedsql.alembic.running import is_offline, run
from embedsql.errors import IndexNotFoundError
from embedsql.grants import allow_again_statements, keep_roles_statements, policy_statements
from embedsql.naming import ObjectNames
from embedsql.spec import IndexSpec


def create(operations: Operations, operation: CreationOp) -> None:
    """See ``op.create_semantic_index``."""
    spec = operation.spec
    partitioned = _check_made(operations, operation)
    given = _given(spec) if operation.keep_privileges else []
    run(operations, [*declare.create_statements(spec, partitioned=partitioned), *given])


def drop(operations: Operations, operation: CreationOp) -> None:
    """See ``op.drop_semantic_index``."""
    spec = operation.spec
    kept = _kept(operations, spec, spec.name) if operation.keep_privileges else []
    run(operations, [*kept, *declare.drop_statements(spec)])


def made_instead(operations: Operations, operation: ChangeSemanticIndexOp) -> list[str]:
    """Drop the index and make the new one; roles may do with it what they might before."""
    before, after = operation.spec_before, operation.spec
    partitioned = _check_made(operations, operation, before)
    return [
        *_kept(operations, before, after.name),
        *declare.drop_statements(before),
        *declare.create_statements(after, partitioned=partitioned),
        *_given(after),
    ]


def check_source(operations: Operations, operation: SemanticIndexOp) -> bool:
    """Refuse what is no table, where that can be asked; whether it is partitioned."""
    if is_offline(operations):
        return operation.partitioned
    source = existing_source(operations.get_bind(), operation.spec)
    return operation.partitioned or source.partitioned


def names_of(operations: Operations, spec: IndexSpec) -> ObjectNames:
    """The names of the generation that serves; offline, of the first.

    Raises:
        IndexNotFoundError: There is no such index.
    """
    if is_offline(operations):
        return spec.names
    generation = registered_generation(operations.get_bind(), spec.name)
    if generation is None:
        raise IndexNotFoundError(
            f"there is no semantic index {spec.name!r}: op.create_semantic_index makes it"
        )
    return ObjectNames(spec.name, generation)


def _check_made(
    operations: Operations, operation: SemanticIndexOp, before: IndexSpec | None = None
) -> bool:
    """Refuse an index that cannot be, where that can be asked; whether its table is partitioned."""
    if is_offline(operations):
        return operation.partitioned
    source = existing_source(operations.get_bind(), operation.spec)
    check_made(operations.get_bind(), operation.spec, source, before)
    return operation.partitioned or source.partitioned


def _kept(operations: Operations, spec: IndexSpec, instead: str) -> list[str]:
    """What keeps the privileges on an index for ``instead``; offline, on its first generation."""
    generation = None
    if not is_offline(operations):
        generation = registered_generation(operations.get_bind(), spec.name)
    names = ObjectNames(spec.name, generation or 1)
    return [
        *ddl.keep_grants_statements(spec, names, instead),
        *keep_roles_statements(spec, names, instead),
    ]


def _given(spec: IndexSpec) -> list[str]:
    """What gives them again, on the index that was made instead."""
    again = ddl.grant_again_statements(spec, policy_statements(spec))
    return again + allow_again_statements(spec)
