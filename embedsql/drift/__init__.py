"""Where a source is no longer as its index was declared, each with the statement that mends it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import psycopg
from psycopg.rows import class_row

from embedsql import ddl, sqlfile
from embedsql.catalog import SourceTable, describe_source
from embedsql.errors import DeclarationError
from embedsql.key import KeyColumn
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


_FUNCTIONS = """
SELECT p.proname FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS k ON k.oid = p.pronamespace
WHERE k.nspname = %s AND p.proname = ANY (%s::text[])
"""


class Drift(NamedTuple):
    """One thing that is no longer as declared.

    Attributes:
        words: What, and how it is mended.
        mend: The statements and commands that do, one a line.
    """

    words: str
    mend: str


@dataclass(frozen=True)
class _Trigger:
    """One of an index's triggers, and the table it is on now."""

    name: str
    disabled: bool
    schema: str
    table: str


def find_drift(connection: psycopg.Connection, index: RegisteredIndex) -> list[str]:
    """What keeps an index from its source, in words for whoever may mend it; empty: nothing."""
    return [drift.words for drift in find_drifts(connection, index)]


def find_drifts(connection: psycopg.Connection, index: RegisteredIndex) -> list[Drift]:
    """What keeps an index from its source; empty: nothing.

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
        return [_lost(index, triggers) or Drift(str(error), _anew(index))]
    return [
        *_columns(index, source),
        *_key(index, source),
        *_gone(connection, index, source, triggers),
        *_disabled(index, triggers),
        *_by_statement(index, source, triggers),
    ]


def _lost(index: RegisteredIndex, triggers: list[_Trigger]) -> Drift | None:
    """No table of the declared name: renamed, moved, or dropped."""
    spec = index.spec
    declared = _quoted(spec.schema, spec.table)
    if not triggers:
        words = f"the table {declared} is gone: embedsql drop {spec.name} removes what it left"
        return Drift(words, _drop(index))
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
    return Drift(
        f"the table {declared} is {_quoted(now.schema, now.table)} now: {' '.join(mend)} To give "
        f"it another name for good, embedsql drop {spec.name} before and embedsql add after",
        "\n".join(mend),
    )


def _columns(index: RegisteredIndex, source: SourceTable) -> Iterator[Drift]:
    spec = index.spec
    table = _quoted(spec.schema, spec.table)
    key = [column.name for column in spec.key]
    unknown = [name for name in source.columns if name not in (*spec.watched, *key)]
    for name in dict.fromkeys((*key, *spec.watched)):
        if name not in source.columns:
            there = ", ".join(map(_quoted, unknown)) or "no other"
            old = _quoted(unknown[0]) if len(unknown) == 1 else "…"
            yield Drift(
                f"the column {_quoted(name)} of {table} is gone: if it was renamed, ALTER TABLE "
                f"{table} RENAME COLUMN … TO {_quoted(name)}; (of those there are: {there}); else "
                f"embedsql drop {spec.name}, and embedsql add with the columns that are there",
                f"ALTER TABLE {table} RENAME COLUMN {old} TO {_quoted(name)};",
            )


def _key(index: RegisteredIndex, source: SourceTable) -> Iterator[Drift]:
    spec = index.spec
    if _unqualified(source.key) != _unqualified(spec.key) and all(
        column.name in source.columns for column in spec.key
    ):
        declared, now = (
            ", ".join(f"{_quoted(column.name)} {column.type}" for column in key)
            for key in (spec.key, source.key)
        )
        yield Drift(
            f"the primary key of {_quoted(spec.schema, spec.table)} was ({declared}) and is "
            f"({now}) now: make the index anew, embedsql drop {spec.name} and embedsql add",
            _anew(index),
        )


def _unqualified(key: Sequence[KeyColumn]) -> list[tuple[str, str]]:
    """Names and types; whether a type's schema is printed depends on the search_path."""
    return [(column.name, column.type.rpartition(".")[2]) for column in key]


def _gone(
    connection: psycopg.Connection,
    index: RegisteredIndex,
    source: SourceTable,
    triggers: list[_Trigger],
) -> Iterator[Drift]:
    """Changes go unseen where a trigger is not there."""
    spec = index.spec
    declared = (spec.schema, spec.table)  # another table may have taken its name
    there = {one.name for one in triggers if (one.schema, one.table) == declared}
    due = ddl.trigger_events(spec, partitioned=source.partitioned)
    events = [event for event in due if index.names.trigger(event) not in there]
    if not events:
        return
    functions = [index.names.trigger_function(event) for event in events]
    known = {row[0] for row in connection.execute(_FUNCTIONS, [SCHEMA, functions])}
    made = [
        *(index.names.trigger(event) for event in events),
        *(name for name in functions if name not in known),
    ]
    mend = ddl.trigger_texts(spec, index.names, made, partitioned=source.partitioned)
    names = ", ".join(_quoted(index.names.trigger(event)) for event in events)
    yield Drift(
        f"triggers of {_quoted(spec.schema, spec.table)} are gone: {names}; changes go unseen. "
        f"Make the index anew: embedsql drop {spec.name} and embedsql add",
        "\n".join([*mend, "embedsql verify --repair"]),
    )


def _by_statement(
    index: RegisteredIndex, source: SourceTable, triggers: list[_Trigger]
) -> Iterator[Drift]:
    """A table that became a partition: it does not see what its parent does."""
    noted = index.names.trigger("bulk_insert")
    if source.partitioned and any(one.name == noted for one in triggers):
        yield Drift(
            f"{_quoted(index.spec.schema, index.spec.table)} is a partition since its index was "
            "made: what changes through its parent goes unseen. Make the index anew: embedsql drop "
            f"{index.spec.name} and embedsql add",
            _anew(index),
        )


def _disabled(index: RegisteredIndex, triggers: list[_Trigger]) -> Iterator[Drift]:
    """Changes go unseen where a trigger sleeps, too."""
    table = _quoted(index.spec.schema, index.spec.table)
    for trigger in triggers:
        if trigger.disabled:
            wake = f"ALTER TABLE {table} ENABLE TRIGGER {_quoted(trigger.name)};"
            yield Drift(
                f"a trigger of {table} is disabled, and changes go unseen: {wake.rstrip(';')}; "
                "then embedsql verify --repair",
                f"{wake}\nembedsql verify --repair",
            )


def _anew(index: RegisteredIndex) -> str:
    return f"{_drop(index)}\nembedsql add …"


def _drop(index: RegisteredIndex) -> str:
    return shlex.join(("embedsql", "drop", index.spec.name))


def _quoted(*names: str) -> str:
    return sqlfile.text(sqlfile.identifier(*names))
