"""The vectors' own DDL: a column of the source, and how it is stored."""

from __future__ import annotations

from functools import partial

from psycopg import sql

from embedsql import sqlfile
from embedsql.slots import Slots, dollar_quoted
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
