"""Where a source is no longer as its index was declared, each with the statement that mends it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from embedsql import ddl, sqlfile
from embedsql.catalog import SourceTable, describe_source
from embedsql.errors import DeclarationError
from embedsql.naming import SCHEMA
from embedsql.registry import RegisteredIndex

# by their functions, which follow no rename: wherever the source is now, its triggers are with it
_TRIGGERS = """
SELECT t.tgname AS name, t.tgenabled = 'D' AS disabled, n.nspname AS schema, c.relname AS table
FROM pg_catalog.pg_trigger AS t
JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
JOIN pg_catalog.pg_namespace AS k ON k.oid = p.pronamespace
WHERE k.nspname = %s AND p.proname = ANY (%s::text[]) AND t.tgparentid = 0
"""


@dataclass(frozen=True)
class _Trigger:
    """One of an index's triggers, and the table it is on now."""

    name: str
    disabled: bool
    schema: str
    table: str


def find_drift(connection: psycopg.Connection, index: RegisteredIndex) -> list[str]:
    """What keeps an index from its source, in words for whoever may mend it; empty: nothing.

    Reads the catalogue alone: the table may be renamed, moved or dropped, columns may be gone, the
    key may be another, triggers may be dropped or disabled.

    Args:
        connection: Of any role.
        index: The index.
    """
    spec = index.spec
    functions = [index.names.trigger_function(event) for event in ddl.EVENTS]
    cursor = connection.cursor(row_factory=class_row(_Trigger))
    triggers = cursor.execute(_TRIGGERS, [SCHEMA, functions]).fetchall()
    try:
        source = describe_source(connection, _quoted(spec.schema, spec.table))
    except DeclarationError as error:
        return [_lost(index, triggers) or str(error)]
    return [*_columns(index, source), *_key(index, source), *_silent(index, source, triggers)]


def _lost(index: RegisteredIndex, triggers: list[_Trigger]) -> str | None:
    """No table of the declared name: renamed, moved, or dropped."""
    spec = index.spec
    declared = _quoted(spec.schema, spec.table)
    if not triggers:
        return f"the table {declared} is gone: embedsql drop {spec.name} removes what it left"
    now = triggers[0]
    if (now.schema, now.table) == (spec.schema, spec.table):
        return None
    mend = []
    if now.schema != spec.schema:
        moved = f"ALTER TABLE {_quoted(now.schema, now.table)} SET SCHEMA {_quoted(spec.schema)};"
        mend.append(moved)
    if now.table != spec.table:
        renamed = f"ALTER TABLE {_quoted(spec.schema, now.table)} RENAME TO {_quoted(spec.table)};"
        mend.append(renamed)
    return (
        f"the table {declared} is {_quoted(now.schema, now.table)} now: {' '.join(mend)} To give "
        f"it another name for good, embedsql drop {spec.name} before and embedsql add after"
    )


def _columns(index: RegisteredIndex, source: SourceTable) -> Iterator[str]:
    spec = index.spec
    table = _quoted(spec.schema, spec.table)
    key = [column.name for column in spec.key]
    unknown = [name for name in source.columns if name not in (*spec.watched, *key)]
    for name in dict.fromkeys((*key, *spec.watched)):
        if name not in source.columns:
            there = ", ".join(map(_quoted, unknown)) or "no other"
            yield (
                f"the column {_quoted(name)} of {table} is gone: if it was renamed, ALTER TABLE "
                f"{table} RENAME COLUMN … TO {_quoted(name)}; (of those there are: {there}); else "
                f"embedsql drop {spec.name}, and embedsql add with the columns that are there"
            )


def _key(index: RegisteredIndex, source: SourceTable) -> Iterator[str]:
    spec = index.spec
    if source.key != spec.key and all(column.name in source.columns for column in spec.key):
        declared, now = (
            ", ".join(f"{_quoted(column.name)} {column.type}" for column in key)
            for key in (spec.key, source.key)
        )
        yield (
            f"the primary key of {_quoted(spec.schema, spec.table)} was ({declared}) and is "
            f"({now}) now: make the index anew, embedsql drop {spec.name} and embedsql add"
        )


def _silent(index: RegisteredIndex, source: SourceTable, triggers: list[_Trigger]) -> Iterator[str]:
    """Changes go unseen where a trigger is not there, or sleeps."""
    spec = index.spec
    table = _quoted(spec.schema, spec.table)
    there = {trigger.name for trigger in triggers}
    due = ddl.trigger_events(spec, partitioned=source.partitioned)
    gone = [name for event in due if (name := index.names.trigger(event)) not in there]
    if gone:
        yield (
            f"triggers of {table} are gone: {', '.join(map(_quoted, gone))}; changes go unseen. "
            f"Make the index anew: embedsql drop {spec.name} and embedsql add"
        )
    for trigger in triggers:
        if trigger.disabled:
            yield (
                f"a trigger of {table} is disabled, and changes go unseen: ALTER TABLE {table} "
                f"ENABLE TRIGGER {_quoted(trigger.name)}; then embedsql verify --repair"
            )


def _quoted(*names: str) -> str:
    return sqlfile.text(sqlfile.identifier(*names))
