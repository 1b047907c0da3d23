"""DDL of one semantic index: its tables, views, triggers and vector index, from its ``IndexSpec``.

Every function gives statements as text, so that ``--sql``, Alembic's offline mode and a live
connection all run the same ones. The texts stand in the ``.sql`` files of this folder.
"""

from __future__ import annotations

import json
from functools import partial

from psycopg import sql

from embedsql import sqlfile
from embedsql.naming import ObjectNames
from embedsql.slots import Slots, dollar_quoted
from embedsql.spec import IndexSpec

EVENTS = ("insert", "bulk_insert", "update", "delete", "truncate")

_file = partial(sqlfile.statement, __name__)
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
    by_row = partitioned or spec.replicated
    statements = _texts(_tables(spec, slots, space))
    if spec.lexical is not None:
        statements += _texts(
            _script(
                "lexical.sql",
                lexeme_index=sqlfile.identifier(slots.names.lexeme_index),
                chunk=slots.chunk,
            )
        )
    for event in trigger_events(spec, partitioned=partitioned):
        statements += _trigger_function(spec, slots, event, by_row)
    return statements + _texts(_triggers(spec, slots, by_row))


def trigger_events(spec: IndexSpec, *, partitioned: bool) -> tuple[str, ...]:
    """The events for which the source has a trigger; where all are by row, no bulk inserts."""
    by_row = partitioned or spec.replicated
    return tuple(event for event in EVENTS if not (by_row and event == "bulk_insert"))


def drop_statements(spec: IndexSpec) -> list[str]:
    """The statements that remove a semantic index and all it made; the source table stays."""
    slots = Slots(spec)
    return _texts(
        _script(
            "drop.sql",
            source=slots.source,
            index_view=slots.index_view,
            chunk_view=slots.chunk_view,
            chunk=slots.chunk,
            row=slots.row,
            batch=slots.batch,
            log=slots.log,
            name=sqlfile.literal(spec.name),
            **_trigger_slots(slots),
        )
    )


def vector_index_statement(
    spec: IndexSpec, names: ObjectNames, *, concurrently: bool = True
) -> str | None:
    """The statement that builds the approximate index; ``None`` where the spec wants none."""
    if spec.index == "none":
        return None
    slots = Slots(spec, names)
    stored = "vector" if spec.quantization == "none" else spec.quantization
    return sqlfile.text(
        _file(
            "vector_index.sql",
            concurrently=sql.SQL("CONCURRENTLY") if concurrently else sql.SQL(""),
            vector_index=sqlfile.identifier(names.vector_index),
            chunk=slots.chunk,
            operator_class=sqlfile.raw(f"{stored}_cosine_ops"),
            m=sqlfile.literal(spec.hnsw.m),
            ef_construction=sqlfile.literal(spec.hnsw.ef_construction),
        )
    )


def _tables(spec: IndexSpec, slots: Slots, space: str | None) -> list[sql.Composed]:
    names = slots.names
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
        vector_type=sqlfile.raw(spec.vector_type),
        vector_storage=sqlfile.raw(slots.vector_storage),
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


def _triggers(spec: IndexSpec, slots: Slots, by_row: bool) -> list[sql.Composed]:
    fill = {"source": slots.source, "changed": slots.changed, **_trigger_slots(slots)}
    if not by_row:
        few, many = slots.few_inserted, slots.many_inserted
        return _script("triggers.sql", few_inserted=few, many_inserted=many, **fill)
    statements = _script("triggers_by_row.sql", **fill)
    return statements + (_script("always.sql", **fill) if spec.replicated else [])


def _trigger_function(spec: IndexSpec, slots: Slots, event: str, by_row: bool) -> list[str]:
    body = _file(
        "body_delete_row.sql" if by_row and event == "delete" else f"body_{event}.sql",
        log=slots.log,
        row=slots.row,
        chunk=slots.chunk,
        name=sqlfile.literal(spec.name),
        key_columns=slots.key_columns,
        source_key=slots.source_key_of("c"),
        new_key=slots.qualified_key("NEW"),
        old_key=slots.qualified_key("OLD"),
        key_changed=slots.key_changed,
        wake=slots.wake,
    )
    return _texts(
        _script(
            "trigger_function.sql",
            function=sqlfile.kit(slots.names.trigger_function(event)),
            body=dollar_quoted(sqlfile.text(body)),
        )
    )


def _trigger_slots(slots: Slots) -> dict[str, sql.Composable]:
    found: dict[str, sql.Composable] = {}
    for event in EVENTS:
        found[f"{event}_trigger"] = sqlfile.identifier(slots.names.trigger(event))
        found[f"{event}_function"] = sqlfile.kit(slots.names.trigger_function(event))
    return found


def _texts(statements: list[sql.Composed]) -> list[str]:
    return [sqlfile.text(statement) for statement in statements]
