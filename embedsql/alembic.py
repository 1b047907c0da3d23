"""Operations for an application's own Alembic revisions.

In ``env.py``::

    from embedsql.alembic import register_operations
    register_operations()

and in a revision::

    op.install_embedsql(version=1)
    op.create_semantic_index(
        "article_search", "article", key={"id": "bigint"}, text=["title", "body"],
        model="sentence-transformers/all-MiniLM-L6-v2", dimensions=384,
    )

A revision holds its declaration as a literal: it must mean tomorrow what it means today, so it
does not import the application's live model. Every operation works in offline mode (``--sql``)
and can be reversed. Rows that exist are logged by the worker when it next starts, so that a
migration stays short; the worker builds the vector index, too, once they are embedded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alembic.operations import MigrateOperation, Operations
from sqlalchemy import text as sql_text

from embedsql import declare, schema, sqlfile
from embedsql.spec import IndexSpec, KeyColumn


class InstallEmbedsqlOp(MigrateOperation):
    """Bring the kit's schema from one version to another."""

    def __init__(self, version: int, upgrade_from: int = 0) -> None:
        self.version = version
        self.upgrade_from = upgrade_from

    @classmethod
    def install_embedsql(
        cls, operations: Operations, version: int = schema.LATEST, *, upgrade_from: int = 0
    ) -> None:
        """Install the kit's schema at ``version``, or upgrade it from ``upgrade_from``.

        A database that has this version already, from ``embedsql install``, say, is left as it is.
        """
        operations.invoke(cls(version, upgrade_from))

    def reverse(self) -> UninstallEmbedsqlOp:
        """The downgrade."""
        return UninstallEmbedsqlOp(self.version, self.upgrade_from)


class UninstallEmbedsqlOp(MigrateOperation):
    """Take the kit's schema back from one version to another."""

    def __init__(self, version: int, downgrade_to: int = 0) -> None:
        self.version = version
        self.downgrade_to = downgrade_to

    @classmethod
    def uninstall_embedsql(
        cls, operations: Operations, version: int = schema.LATEST, *, downgrade_to: int = 0
    ) -> None:
        """Remove the kit's schema, or take it back to ``downgrade_to``."""
        operations.invoke(cls(version, downgrade_to))

    def reverse(self) -> InstallEmbedsqlOp:
        """The upgrade."""
        return InstallEmbedsqlOp(self.version, self.downgrade_to)


class CreateSemanticIndexOp(MigrateOperation):
    """Make a semantic index."""

    def __init__(self, spec: IndexSpec, *, partitioned: bool = False) -> None:
        self.spec = spec
        self.partitioned = partitioned

    @classmethod
    def create_semantic_index(
        cls,
        operations: Operations,
        name: str,
        table: str,
        *,
        key: Mapping[str, str],
        text: Sequence[str],
        dimensions: int,
        partitioned: bool = False,
        **options: Any,
    ) -> None:
        """Make a semantic index on an existing table.

        Args:
            operations: Given by Alembic.
            name: The index, and its view.
            table: The source table.
            key: Its primary key: column names with their SQL types, in order.
            text: Its text columns, in order.
            dimensions: Length of the model's vectors.
            partitioned: Whether the source is a partitioned table.
            options: The other fields of ``IndexSpec``: schema, model, backend, quantization, ...

        Raises:
            DeclarationError: The declaration cannot be.
        """
        spec = _spec(name, table, key, text, dimensions, options)
        operations.invoke(cls(spec, partitioned=partitioned))

    def reverse(self) -> DropSemanticIndexOp:
        """The drop."""
        return DropSemanticIndexOp(self.spec, partitioned=self.partitioned)


class DropSemanticIndexOp(MigrateOperation):
    """Remove a semantic index."""

    def __init__(self, spec: IndexSpec, *, partitioned: bool = False) -> None:
        self.spec = spec
        self.partitioned = partitioned

    @classmethod
    def drop_semantic_index(
        cls,
        operations: Operations,
        name: str,
        table: str,
        *,
        key: Mapping[str, str],
        text: Sequence[str],
        dimensions: int,
        partitioned: bool = False,
        **options: Any,
    ) -> None:
        """Remove a semantic index and all it made; declared in full, so that it can be reversed.

        The arguments are those of ``create_semantic_index``.
        """
        spec = _spec(name, table, key, text, dimensions, options)
        operations.invoke(cls(spec, partitioned=partitioned))

    def reverse(self) -> CreateSemanticIndexOp:
        """The creation."""
        return CreateSemanticIndexOp(self.spec, partitioned=self.partitioned)


def register_operations() -> None:
    """Teach ``op`` the operations above. Once is enough; again does no harm."""
    if hasattr(Operations, "install_embedsql"):
        return
    for operation, name, run in (
        (InstallEmbedsqlOp, "install_embedsql", _install),
        (UninstallEmbedsqlOp, "uninstall_embedsql", _uninstall),
        (CreateSemanticIndexOp, "create_semantic_index", _create),
        (DropSemanticIndexOp, "drop_semantic_index", _drop),
    ):
        Operations.register_operation(name)(operation)
        Operations.implementation_for(operation)(run)


def _install(operations: Operations, operation: InstallEmbedsqlOp) -> None:
    if _installed_version(operations, operation.upgrade_from) >= operation.version:
        return
    script = schema.upgrade_sql(operation.upgrade_from, operation.version)
    _run(operations, [*schema.extension_statements(), *sqlfile.split(script)])


def _uninstall(operations: Operations, operation: UninstallEmbedsqlOp) -> None:
    script = schema.downgrade_sql(operation.version, operation.downgrade_to)
    _run(operations, sqlfile.split(script))


def _create(operations: Operations, operation: CreateSemanticIndexOp) -> None:
    _run(operations, declare.create_statements(operation.spec, partitioned=operation.partitioned))


def _drop(operations: Operations, operation: DropSemanticIndexOp) -> None:
    _run(operations, declare.drop_statements(operation.spec))


def _installed_version(operations: Operations, assumed: int) -> int:
    """What the database holds; offline, what the revision assumes."""
    if operations.migration_context.as_sql:
        return assumed
    bind = operations.get_bind()
    if bind.execute(sql_text("SELECT to_regclass('embedsql.installation')")).scalar() is None:
        return 0
    return int(bind.execute(sql_text("SELECT version FROM embedsql.installation")).scalar_one())


def _run(operations: Operations, statements: Sequence[str]) -> None:
    """Run or print statements as they are: no bind parameters, no percent signs to double."""
    for statement in statements:
        if operations.migration_context.as_sql:
            operations.migration_context.impl.static_output(statement + "\n")
        else:
            operations.get_bind().exec_driver_sql(
                statement, execution_options={"no_parameters": True}
            )


def _spec(
    name: str,
    table: str,
    key: Mapping[str, str],
    text: Sequence[str],
    dimensions: int,
    options: Mapping[str, Any],
) -> IndexSpec:
    columns = tuple(KeyColumn(column, sql_type) for column, sql_type in key.items())
    return IndexSpec(
        name=name, table=table, key=columns, text=tuple(text), dimensions=dimensions, **options
    )
