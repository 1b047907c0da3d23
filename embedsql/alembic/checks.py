"""Refusals of a declaration that a database cannot carry, before a worker meets it.

They are those of ``embedsql add``, asked over Alembic's own connection.
"""

from __future__ import annotations

from collections.abc import Sequence

from alembic.operations import MigrateOperation, ops
from sqlalchemy import LargeBinary, Table
from sqlalchemy.engine import Connection

from embedsql.alembic.declarations import Declared
from embedsql.alembic.found import (
    FoundSource,
    asks,
    find_source,
    installed_version,
    registered_generation,
    source_columns,
)
from embedsql.catalog import (
    SourceTable,
    check_name_free,
    check_text_columns,
    check_text_configuration,
    check_vector_column,
    name_taken,
)
from embedsql.embedders import check_model
from embedsql.errors import DeclarationError
from embedsql.spec import IndexSpec


def existing_source(bind: Connection, spec: IndexSpec) -> FoundSource:
    """The source of an index.

    Raises:
        DeclarationError: There is no such table.
    """
    source = find_source(bind, spec.schema, spec.table)
    if source is None:
        raise DeclarationError(
            f"there is no table {spec.schema}.{spec.table}: create it in a revision before this one"
        )
    return source


def check_made(
    bind: Connection, spec: IndexSpec, source: FoundSource, before: IndexSpec | None = None
) -> None:
    """Refuse an index that is about to be made.

    Args:
        bind: In the transaction that makes it.
        spec: Its declaration.
        source: Its table.
        before: What it is made instead of; ``None``: of nothing.

    Raises:
        DeclarationError: With what is wrong and what there is instead.
        ConfigurationError: The dimensions are not the model's.
        UnknownModelError: There is no such model.
    """
    columns = source_columns(bind, source)
    table = SourceTable(spec.schema, spec.table, source.partitioned, spec.key, columns)
    check_text_columns(table, spec.watched)
    had = None if before is None else (before.storage, before.vector_column)
    if spec.storage == "column" and had != (spec.storage, spec.vector_column):
        check_vector_column(table, spec.vector_column, spec.vector_type)
    if before is None or before.name != spec.name:
        _check_unregistered(bind, spec.name)
    if before is None or (before.schema, before.name) != (spec.schema, spec.name):
        check_name_free(asks(bind), spec.schema, spec.name)
    _check_server_and_model(bind, spec)


def check_proposed(bind: Connection, declared: Declared, source: FoundSource | None) -> None:
    """Refuse an index that a revision is about to be written for.

    Its table need not be there yet: the columns of the model are asked, too.

    Args:
        bind: The database.
        declared: The declaration.
        source: Its table, where there is one.

    Raises:
        DeclarationError: With what is wrong and what there is instead.
        ConfigurationError: The dimensions are not the model's.
        UnknownModelError: There is no such model.
    """
    spec = declared.spec
    columns = {} if source is None else source_columns(bind, source)
    columns |= _columns_of(declared.table)
    table = SourceTable(spec.schema, spec.table, declared.partitioned, spec.key, columns)
    check_text_columns(table, spec.watched)
    _check_server_and_model(bind, spec)


def check_name(bind: Connection, spec: IndexSpec, others: Sequence[MigrateOperation]) -> None:
    """Refuse a new index's name that something has, or will have.

    Args:
        bind: The database.
        spec: The index.
        others: The operations of its revision; one may make the name free.

    Raises:
        DeclarationError: With who has it.
    """
    default = bind.dialect.default_schema_name
    named = {
        type(each)
        for each in others
        if isinstance(each, ops.CreateTableOp | ops.DropTableOp)
        and (each.schema or default, each.table_name) == (spec.schema, spec.name)
    }
    if ops.CreateTableOp in named:
        raise name_taken(spec.name, f"a table of schema {spec.schema}")
    if not named:
        check_name_free(asks(bind), spec.schema, spec.name)


def _check_unregistered(bind: Connection, name: str) -> None:
    if installed_version(bind) and registered_generation(bind, name) is not None:
        raise DeclarationError(
            f"there is a semantic index {name!r} already; choose another name, or drop that one "
            "before: op.drop_semantic_index"
        )


def _check_server_and_model(bind: Connection, spec: IndexSpec) -> None:
    if spec.lexical is not None:
        check_text_configuration(asks(bind), spec.lexical)
    check_model(spec.model, spec.dimensions)


def _columns_of(table: Table) -> dict[str, str]:
    """A model's columns; of their types, that of bytes alone is told."""
    return {
        column.name: "bytea" if isinstance(column.type, LargeBinary) else ""
        for column in table.columns
    }
