"""DDL of one semantic index: its tables, views, triggers and vector index, from its ``IndexSpec``.

Every function gives statements as text, so that ``--sql``, Alembic's offline mode and a live
connection all run the same ones. The texts stand in the ``.sql`` files of this folder.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import partial

from psycopg import sql

from embedsql import sqlfile
from embedsql.ddl import vectors
from embedsql.ddl.triggers import EVENTS, trigger_events, trigger_names, trigger_statements
from embedsql.ddl.vectors import vector_index_drop_statement, vector_index_statement
from embedsql.naming import ObjectNames
from embedsql.slots import Slots
from embedsql.spec import IndexSpec
from embedsql.vector_slots import VectorSlots

__all__ = [
    "EVENTS",
    "chunk_statements",
    "create_statements",
    "drop_statements",
    "trigger_events",
    "trigger_texts",
    "vector_index_drop_statement",
    "vector_index_statement",
]

_script = partial(sqlfile.script, __name__)


def create_statements(
    spec: IndexSpec, *, space: str | None = None, partitioned: bool = False
) -> list[str]:
    """The statements that make a semantic index, all but its vector index.

    Args:
        spec: The declaration.
        space: Label of the space of its vectors, where the model was at hand.
        partitioned: Whether the source is a partitioned table, which needs row triggers.
    """
    slots = Slots(spec)
    statements = vectors.column_statements(slots) + _tables(spec, slots, space)
    statements += vectors.storage_statements(slots)
    statements += _lexical(slots)
    return _texts(statements + trigger_statements(slots, partitioned=partitioned))


def drop_statements(spec: IndexSpec) -> list[str]:
    """The statements that remove a semantic index and all it made; the source table stays."""
    slots = Slots(spec)
    statements = _script(
        "drop.sql",
        source=slots.source,
        index_view=slots.index_view,
        chunk_view=slots.chunk_view,
        chunk=slots.chunk,
        row=slots.row,
        batch=slots.batch,
        log=slots.log,
        name=sqlfile.literal(spec.name),
        **trigger_names(slots),
    )
    return _texts(statements + vectors.drop_statements(slots))


def chunk_statements(spec: IndexSpec, chunk: sql.Identifier) -> list[str]:
    """The statements that make a table of chunks alone, with its indexes, under another name.

    Args:
        spec: The declaration.
        chunk: That table's name; in ``pg_temp``, say.
    """
    slots = Slots(spec)
    slots.chunk = chunk
    statements = _texts([*_tables(spec, slots, None), *vectors.storage_statements(slots)])
    statements += _texts(_lexical(slots))
    name = sqlfile.text(chunk)
    kinds = ("CREATE TABLE", "CREATE INDEX", "ALTER TABLE")
    firsts = [(one, _first_line(one)) for one in statements]
    return [one for one, first in firsts if name in first and first.startswith(kinds)]


def trigger_texts(
    spec: IndexSpec, names: ObjectNames, made: Collection[str], *, partitioned: bool
) -> list[str]:
    """The statements that make those triggers, or their functions, that bear one of some names."""
    statements = _texts(trigger_statements(Slots(spec, names), partitioned=partitioned))
    marks = [sqlfile.text(sqlfile.identifier(name)) for name in made]
    return [one for one in statements if any(mark in _first_line(one) for mark in marks)]


def _first_line(statement: str) -> str:
    """Where a statement says what it makes."""
    return next(line for line in statement.splitlines() if line and not line.startswith("--"))


def _tables(spec: IndexSpec, slots: Slots, space: str | None) -> list[sql.Composed]:
    names, vector = slots.names, VectorSlots(slots)
    comment = f"chunks and vectors of {spec.schema}.{spec.table}, kept by embedsql"
    return _script(
        "tables.sql",
        log=slots.log,
        batch=slots.batch,
        row=slots.row,
        chunk=slots.chunk,
        chunk_view=slots.chunk_view,
        index_view=slots.index_view,
        source=slots.source,
        key_definitions=slots.key_definitions,
        key_arrays=slots.key_arrays,
        key_columns=slots.key_columns,
        view_key=slots.source_key_of("s"),
        key_match=slots.key_match("s", "c"),
        vector_definitions=vector.definitions,
        chunk_key=slots.own_key_of("c"),
        viewed_vector=vector.viewed,
        viewed_from=vector.viewed_from,
        content_index=sqlfile.identifier(names.content_index),
        view_comment=sqlfile.literal(comment),
        name=sqlfile.literal(spec.name),
        source_schema=sqlfile.literal(spec.schema),
        source_table=sqlfile.literal(spec.table),
        declaration=sqlfile.literal(json.dumps(spec.to_json())),
        space=sqlfile.literal(space),
        log_name=sqlfile.literal(names.log),
        batch_name=sqlfile.literal(names.batch),
        row_name=sqlfile.literal(names.row),
        chunk_name=sqlfile.literal(names.chunk),
    )


def _lexical(slots: Slots) -> list[sql.Composed]:
    if slots.spec.lexical is None:
        return []
    lexeme_index = sqlfile.identifier(slots.names.lexeme_index)
    return _script("lexical.sql", lexeme_index=lexeme_index, chunk=slots.chunk)


def _texts(statements: list[sql.Composed]) -> list[str]:
    return [sqlfile.text(statement) for statement in statements]
