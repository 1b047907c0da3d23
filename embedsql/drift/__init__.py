"""Where a source is no longer as its index was declared, each with the statement that mends it."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from embedsql.catalog import describe_source
from embedsql.drift import columns, triggers
from embedsql.drift.said import Drift, anew, drop, quoted
from embedsql.drift.triggers import Trigger
from embedsql.errors import DeclarationError
from embedsql.registry import RegisteredIndex

__all__ = ["Drift", "find_drift", "find_drifts"]


def find_drift(connection: psycopg.Connection, index: RegisteredIndex) -> list[str]:
    """What keeps an index from its source, in words for whoever may mend it; empty: nothing."""
    return [drift.words for drift in find_drifts(connection, index)]


def find_drifts(connection: psycopg.Connection, index: RegisteredIndex) -> list[Drift]:
    """What keeps an index from its source; empty: nothing.

    Reads the catalogue alone: the table may be renamed, moved or dropped, columns may be gone, the
    key may be another, triggers may be dropped or disabled, tables may inherit from it.

    Args:
        connection: Of any role.
        index: The index.
    """
    spec = index.spec
    found = triggers.find_triggers(connection, index)
    try:
        source = describe_source(connection, quoted(spec.schema, spec.table))
    except DeclarationError as error:
        return [_lost(index, found) or Drift(str(error), anew(index))]
    return [
        *columns.missing_columns(connection, index, source),
        *columns.other_key(index, source),
        *triggers.gone(connection, index, source, found),
        *triggers.disabled(found),
        *triggers.by_statement(index, source, found),
        *triggers.missing_on_heirs(connection, index, source, found),
    ]


def _lost(index: RegisteredIndex, found: Sequence[Trigger]) -> Drift | None:
    """No table of the declared name: renamed, moved, or dropped."""
    spec = index.spec
    declared = quoted(spec.schema, spec.table)
    if not found:
        words = f"the table {declared} is gone: embedsql drop {spec.name} removes what it left"
        return Drift(words, drop(index))
    now = found[0]
    if (now.schema, now.table) == (spec.schema, spec.table):
        return None
    mend = []
    if now.schema != spec.schema:
        moved = f"ALTER TABLE {quoted(now.schema, now.table)} SET SCHEMA {quoted(spec.schema)};"
        mend.append(moved)
    if now.table != spec.table:
        renamed = f"ALTER TABLE {quoted(spec.schema, now.table)} RENAME TO {quoted(spec.table)};"
        mend.append(renamed)
    return Drift(
        f"the table {declared} is {quoted(now.schema, now.table)} now: {' '.join(mend)} To give "
        f"it another name for good, embedsql drop {spec.name} before and embedsql add after",
        "\n".join(mend),
    )
