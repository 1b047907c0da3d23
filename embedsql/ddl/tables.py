"""The tables of one generation of an index, and its row of the registry."""

from __future__ import annotations

import json
from functools import partial

from psycopg import sql

from embedsql import sqlfile
from embedsql.ddl import vectors
from embedsql.ddl.triggers import trigger_events, trigger_names
from embedsql.slots import Slots
from embedsql.vector_slots import VectorSlots

_script = partial(sqlfile.script, __package__)


def table_statements(
    slots: Slots, space: str | None, state: str, *, partitioned: bool
) -> list[sql.Composed]:
    """The tables, their view, and the row of the registry."""
    spec, names, vector = slots.spec, slots.names, VectorSlots(slots)
    functions = [
        names.trigger_function(event) for event in trigger_events(spec, partitioned=partitioned)
    ]
    statements = vectors.column_statements(slots) + _script(
        "tables.sql",
        log=slots.log,
        batch=slots.batch,
        row=slots.row,
        chunk=slots.chunk,
        chunk_view=slots.chunk_view,
        key_definitions=slots.key_definitions,
        key_arrays=slots.key_arrays,
        uncompressed_arrays=slots.uncompressed_arrays,
        key_columns=slots.key_columns,
        vector_definitions=vector.definitions,
        chunk_key=slots.own_key_of("c"),
        viewed_vector=vector.viewed,
        viewed_from=vector.viewed_from,
        content_index=sqlfile.identifier(names.content_index),
        state=sqlfile.literal(state),
        source_schema=sqlfile.literal(spec.schema),
        source_table=sqlfile.literal(spec.table),
        declaration=sqlfile.literal(json.dumps(spec.to_json())),
        space=sqlfile.literal(space),
        log_name=sqlfile.literal(names.log),
        batch_name=sqlfile.literal(names.batch),
        row_name=sqlfile.literal(names.row),
        chunk_name=sqlfile.literal(names.chunk),
        chunk_view_name=sqlfile.literal(names.chunk_view),
        trigger_functions=sqlfile.comma(map(sqlfile.literal, functions)),
        **identity(slots),
    )
    statements += vectors.storage_statements(slots)
    if spec.lexical is not None:
        lexeme_index = sqlfile.identifier(names.lexeme_index)
        statements += _script("lexical.sql", lexeme_index=lexeme_index, chunk=slots.chunk)
    return statements


def drop_table_statements(slots: Slots) -> list[sql.Composed]:
    """What removes them all."""
    statements = _script(
        "drop.sql",
        chunk_view=slots.chunk_view,
        chunk=slots.chunk,
        row=slots.row,
        batch=slots.batch,
        log=slots.log,
        **identity(slots),
        **trigger_names(slots),
    )
    return statements + vectors.drop_statements(slots)


def identity(slots: Slots) -> dict[str, sql.Composable]:
    """Which row of the registry it is."""
    return {
        "name": sqlfile.literal(slots.spec.name),
        "generation": sqlfile.literal(slots.names.generation),
    }
