"""Triggers that are gone, asleep, of another kind than the table needs, or missing on its heirs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import psycopg
from psycopg.rows import class_row

from embedsql import ddl
from embedsql.catalog import SourceTable
from embedsql.drift.said import Drift, anew, quoted
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

# tables whose rows show through another; partitions aside, to which PostgreSQL clones triggers
_HEIRS = """
WITH RECURSIVE heir (oid) AS (
    SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent = to_regclass(%s)
    UNION
    SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN heir ON i.inhparent = heir.oid
)
SELECT n.nspname, c.relname
FROM heir
JOIN pg_catalog.pg_class AS c ON c.oid = heir.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND NOT c.relispartition ORDER BY 1, 2
"""


@dataclass(frozen=True)
class Trigger:
    """One of an index's triggers, and the table it is on now."""

    name: str
    disabled: bool
    schema: str
    table: str


def find_triggers(connection: psycopg.Connection, index: RegisteredIndex) -> list[Trigger]:
    """An index's triggers, that of TRUNCATE first, which only the source itself has."""
    functions = [index.names.trigger_function(event) for event in ddl.EVENTS]
    cursor = connection.cursor(row_factory=class_row(Trigger))
    found = cursor.execute(_TRIGGERS, [SCHEMA, functions]).fetchall()
    return sorted(found, key=lambda one: one.name != index.names.trigger("truncate"))


def gone(
    connection: psycopg.Connection,
    index: RegisteredIndex,
    source: SourceTable,
    triggers: Sequence[Trigger],
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
    names = ", ".join(quoted(index.names.trigger(event)) for event in events)
    yield Drift(
        f"triggers of {quoted(*declared)} are gone: {names}; changes go unseen. "
        f"Make the index anew: embedsql drop {spec.name} and embedsql add",
        "\n".join([*mend, "embedsql verify --repair"]),
    )


def missing_on_heirs(
    connection: psycopg.Connection,
    index: RegisteredIndex,
    source: SourceTable,
    triggers: Sequence[Trigger],
) -> Iterator[Drift]:
    """Rows of a table that inherits show through its parent, and no trigger of that sees them."""
    spec, by_row = index.spec, source.partitioned
    table = quoted(spec.schema, spec.table)
    # a TRUNCATE of an heir must not empty the index
    due = [one for one in ddl.trigger_events(spec, partitioned=by_row) if one != "truncate"]
    names = [index.names.trigger(event) for event in due]
    there = {(one.schema, one.table, one.name) for one in triggers}
    for schema, heir in connection.execute(_HEIRS, [table]).fetchall():
        missing = [name for name in names if (schema, heir, name) not in there]
        if missing:
            of_heir = replace(spec, schema=schema, table=heir)
            mend = ddl.trigger_texts(of_heir, index.names, missing, partitioned=by_row)
            yield Drift(
                f"rows of {quoted(schema, heir)} show through {table}, from which it inherits, and "
                "it has no triggers: what changes there goes unseen. embedsql doctor says the "
                "statements that make them; then embedsql verify --repair",
                "\n".join([*mend, "embedsql verify --repair"]),
            )


def by_statement(
    index: RegisteredIndex, source: SourceTable, triggers: Sequence[Trigger]
) -> Iterator[Drift]:
    """A table that became a partition: it does not see what its parent does."""
    noted = index.names.trigger("bulk_insert")
    if source.partitioned and any(one.name == noted for one in triggers):
        yield Drift(
            f"{quoted(index.spec.schema, index.spec.table)} is a partition since its index was "
            "made: what changes through its parent goes unseen. Make the index anew: embedsql drop "
            f"{index.spec.name} and embedsql add",
            anew(index),
        )


def disabled(triggers: Sequence[Trigger]) -> Iterator[Drift]:
    """Changes go unseen where a trigger sleeps, too."""
    for trigger in triggers:
        if trigger.disabled:
            table = quoted(trigger.schema, trigger.table)
            wake = f"ALTER TABLE {table} ENABLE TRIGGER {quoted(trigger.name)};"
            yield Drift(
                f"a trigger of {table} is disabled, and changes go unseen: {wake.rstrip(';')}; "
                "then embedsql verify --repair",
                f"{wake}\nembedsql verify --repair",
            )
