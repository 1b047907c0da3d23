"""Columns that are gone or renamed, and a key that is another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import psycopg

from embedsql.catalog import SourceTable
from embedsql.drift.said import Drift, anew, quoted
from embedsql.key import KeyColumn
from embedsql.registry import RegisteredIndex

# what the trigger on updates looks at, whatever it is called by now: it follows every rename
_LOOKED_AT = """
SELECT a.attname
FROM pg_catalog.pg_trigger AS t
JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_trigger'::regclass AND d.objid = t.oid
    AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = t.tgrelid
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE t.tgrelid = to_regclass(%s) AND t.tgname = %s AND a.attnum > 0
"""


def missing_columns(
    connection: psycopg.Connection, index: RegisteredIndex, source: SourceTable
) -> Iterator[Drift]:
    """Columns of the key and of the text that are not there under their names."""
    spec = index.spec
    key = [column.name for column in spec.key]
    gone = [name for name in dict.fromkeys((*key, *spec.watched)) if name not in source.columns]
    if not gone:
        return
    table = quoted(spec.schema, spec.table)
    trigger = index.names.trigger("update")
    looked_at = {row[0] for row in connection.execute(_LOOKED_AT, [table, trigger])}
    unknown = [name for name in source.columns if name not in (*spec.watched, *key)]
    now = _renamed(gone, spec.key, source.key, [name for name in unknown if name in looked_at])
    for name in gone:
        mend = f"ALTER TABLE {table} RENAME COLUMN … TO {quoted(name)};"
        if name in now:
            mend = mend.replace("…", quoted(now[name]), 1)
            words = f"is {quoted(now[name])} now: {mend}"
        else:
            there = ", ".join(map(quoted, unknown)) or "no other"
            words = f"is gone: if it was renamed, {mend} (of those there are: {there});"
        yield Drift(
            f"the column {quoted(name)} of {table} {words} else embedsql drop {spec.name}, and "
            "embedsql add with the columns that are there"
            + ("; until then the application's own changes of rows fail" if name in key else ""),
            mend,
        )


def other_key(index: RegisteredIndex, source: SourceTable) -> Iterator[Drift]:
    """A primary key of other columns or types."""
    spec = index.spec
    if _plain(source.key) != _plain(spec.key) and all(
        column.name in source.columns for column in spec.key
    ):
        declared, now = (
            ", ".join(f"{quoted(column.name)} {column.type}" for column in key)
            for key in (spec.key, source.key)
        )
        yield Drift(
            f"the primary key of {quoted(spec.schema, spec.table)} was ({declared}) and is "
            f"({now}) now: make the index anew, embedsql drop {spec.name} and embedsql add",
            anew(index),
        )


def _renamed(
    gone: Sequence[str],
    declared: Sequence[KeyColumn],
    key: Sequence[KeyColumn],
    looked_at: Sequence[str],
) -> Mapping[str, str]:
    """What columns that are gone are called now, where that is certain."""
    now = {}
    if [one.type for one in _plain(declared)] == [one.type for one in _plain(key)]:
        pairs = zip(declared, key, strict=True)
        now = {was.name: one.name for was, one in pairs if one.name in looked_at}
    texts = [name for name in gone if name not in now]
    left = [name for name in looked_at if name not in now.values()]
    if len(texts) == len(left) == 1:
        now[texts[0]] = left[0]
    return now


def _plain(key: Sequence[KeyColumn]) -> list[KeyColumn]:
    """Whether a type's schema is printed depends on the search_path."""
    return [KeyColumn(one.name, one.type.rpartition(".")[2]) for one in key]
