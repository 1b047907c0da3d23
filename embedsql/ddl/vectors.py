"""The vectors' own DDL: a column of the source, storage, the approximate index."""

from __future__ import annotations

from functools import partial

from psycopg import sql

from embedsql import sqlfile
from embedsql.naming import ObjectNames
from embedsql.slots import Slots, dollar_quoted
from embedsql.spec import IndexSpec
from embedsql.vector_slots import VectorSlots

_file = partial(sqlfile.statement, __package__)
_script = partial(sqlfile.script, __package__)


def column_statements(slots: Slots) -> list[sql.Composed]:
    """Add the vector column to the source, where vectors are stored there."""
    return _on_column(slots, "body_add_column.sql")


def drop_statements(slots: Slots) -> list[sql.Composed]:
    """Remove from the source what ``column_statements`` and a build put there."""
    if not VectorSlots(slots).in_source:
        return []
    index = _script("vector_index_drop.sql", vector_index=VectorSlots(slots).vector_index)
    return index + _on_column(slots, "body_drop_column.sql")


def storage_statements(slots: Slots) -> list[sql.Composed]:
    """Keep vectors in their rows, where they fit."""
    vector = VectorSlots(slots)
    if vector.stored_column is None:
        return []
    return _script(
        "vector_storage.sql",
        chunk=slots.chunk,
        stored_column=sqlfile.identifier(vector.stored_column),
        storage=sqlfile.raw(vector.storage),
    )


def vector_index_statement(
    spec: IndexSpec,
    names: ObjectNames,
    *,
    concurrently: bool = True,
    lists: int = 100,
    name: str | None = None,
) -> str | None:
    """The statement that builds the approximate index; ``None`` where the spec wants none.

    Args:
        spec: The declaration.
        names: The index's objects.
        concurrently: Without keeping writers waiting; not inside a transaction.
        lists: Of an IVFFlat index whose spec names no number.
        name: Of the index, where it is to be another than its own: a rebuild beside it.
    """
    if spec.index == "none":
        return None
    vector = VectorSlots(Slots(spec, names))
    return sqlfile.text(
        _file(
            "vector_index.sql",
            concurrently=sql.SQL("CONCURRENTLY") if concurrently else sql.SQL(""),
            vector_index=sqlfile.identifier(name or names.vector_index),
            indexed_table=vector.indexed_table,
            method=sqlfile.raw(spec.index),
            expression=vector.index_expression,
            operator_class=sqlfile.raw(spec.vectors.operator_class),
            options=_options(spec, lists),
        )
    )


def vector_index_drop_statement(spec: IndexSpec, names: ObjectNames) -> str:
    """The statement that removes the approximate index."""
    vector = VectorSlots(Slots(spec, names))
    return sqlfile.text(_file("vector_index_drop.sql", vector_index=vector.vector_index))


def _options(spec: IndexSpec, lists: int) -> sql.Composed:
    if spec.index == "ivfflat":
        return sql.SQL("lists = {}").format(sqlfile.literal(spec.ivfflat.lists or lists))
    return sql.SQL("m = {}, ef_construction = {}").format(
        sqlfile.literal(spec.hnsw.m), sqlfile.literal(spec.hnsw.ef_construction)
    )


def _on_column(slots: Slots, body: str) -> list[sql.Composed]:
    vector, spec = VectorSlots(slots), slots.spec
    if not vector.in_source:
        return []
    fill = {
        "source": slots.source,
        "source_text": sqlfile.literal(sqlfile.text(slots.source)),
        "column": vector.column,
        "column_text": sqlfile.literal(spec.vector_column),
        "comment": sqlfile.literal(f"vectors of the semantic index {spec.name}, kept by embedsql"),
    }
    if body == "body_add_column.sql":
        fill["vector_type"] = sqlfile.raw(spec.vector_type)
        fill["storage"] = sqlfile.raw(vector.storage)
    text = dollar_quoted(sqlfile.text(_file(body, **fill)))
    return _script("vector_column.sql", body=text)
