"""Findings about our tables' upkeep: statistics, dead rows, autovacuum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from embedsql import sqlfile
from embedsql.doctor.finding import Finding, Limits, megabytes
from embedsql.registry import RegisteredIndex
from embedsql.slots import Slots

# a partitioned table's statistics are made by nobody but ANALYZE; its own rows are none. A standby
# counts no rows at all.
_TABLES = """
SELECT t.name, pg_table_size(c.oid) AS size, c.reltuples::float8 AS tuples,
       s.n_live_tup AS live, s.n_dead_tup AS dead, s.n_mod_since_analyze AS changed,
       coalesce(c.reloptions, '{}') && '{autovacuum_enabled=false,autovacuum_enabled=off}'::text[]
           AS neglected
FROM unnest(%s::text[]) AS t (name)
JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass(t.name)
JOIN pg_catalog.pg_stat_user_tables AS s ON s.relid = c.oid
WHERE NOT pg_is_in_recovery()
"""


@dataclass(frozen=True)
class _Table:
    """A table as the statistics collector knows it; ``tuples`` is -1 where never analyzed."""

    name: str
    size: int
    tuples: float
    live: int
    dead: int
    changed: int
    neglected: bool


def examine_tables(
    connection: psycopg.Connection, index: RegisteredIndex, limits: Limits
) -> Iterator[Finding]:
    """Old statistics, dead rows that pile up, logs that stay big."""
    slots = Slots(index.spec, index.names)
    ours = [slots.log, slots.batch, slots.row, slots.chunk]
    names = [sqlfile.text(table) for table in (*ours, slots.source)]
    queue = {sqlfile.text(table) for table in (slots.log, slots.batch)}
    cursor = connection.cursor(row_factory=class_row(_Table))
    for table in cursor.execute(_TABLES, [names]).fetchall():
        yield from _neglected(table, index.spec.name)
        yield from _bloat(table, table.name in queue, index.spec.name, limits)
        if table.name not in queue:
            yield from _statistics(table, index.spec.name, limits)


def _neglected(table: _Table, index: str) -> Iterator[Finding]:
    if table.neglected:
        yield Finding(
            "warning",
            f"autovacuum is switched off for {table.name}",
            f"ALTER TABLE {table.name} RESET (autovacuum_enabled);",
            index,
        )


def _bloat(table: _Table, is_queue: bool, index: str, limits: Limits) -> Iterator[Finding]:
    if table.dead > max(limits.dead_tuples, table.live):
        yield Finding(
            "warning",
            f"{table.name} holds {table.dead} dead rows beside {table.live} live ones: autovacuum "
            "does not keep up, or an old transaction or slot holds it back",
            f"VACUUM (ANALYZE) {table.name};",
            index,
        )
    elif is_queue and table.size > max(limits.sparse_bytes, 1024 * table.live):
        yield Finding(
            "warning",
            f"{table.name} is {megabytes(table.size)} for {table.live} rows: each claim reads more "
            "than it should. VACUUM (FULL) locks the table, and writers of the source with it, for "
            "as long as it takes to copy the rows that are left",
            f"VACUUM (FULL, ANALYZE) {table.name};",
            index,
        )


def _statistics(table: _Table, index: str, limits: Limits) -> Iterator[Finding]:
    never = table.tuples < 0 and table.live >= limits.analyzed_rows
    old = table.changed > limits.analyzed_rows + limits.changed_share * max(table.tuples, 0)
    if never or old:
        yield Finding(
            "warning",
            f"the planner's statistics of {table.name} are "
            + ("missing" if table.tuples < 0 else f"from {table.changed} changes ago")
            + ": it may choose plans that read the whole table",
            f"ANALYZE {table.name};",
            index,
        )
