"""What an index's triggers add to bulk writes: COPY, INSERT … SELECT, UPDATE of another column.

On and off are CREATE and DROP: a table whose statement trigger is only disabled still collects its
transition table. The control is the usual alternative, a row trigger that upserts into a queue.
Run as ``python -m benchmarks.triggers [rows of the bare table] [rows of the hybrid one]``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import psycopg

from benchmarks.report import write_report
from benchmarks.stage import (
    CONTROL_QUEUE,
    CONTROL_TRIGGER,
    interleaved,
    make_article,
    ratio,
    set_triggers,
    temporary_server,
    texts,
    trigger_definitions,
)
from embedsql.database import connect

GOALS = {
    "copy": {"floor": 1.15, "goal": 1.05},
    "insert select": {"floor": 1.15, "goal": 1.05},
    "update of another column": {"floor": 1.3, "goal": 1.1},
}
BLOCK = 1 << 20


class Bulk:
    """Bulk writes into ``article``, with or without triggers.

    Args:
        connection: To an empty database.
        rows: How many rows one write has.
        hybrid: Whether the table has the GIN index that hybrid search by hand would need.
    """

    def __init__(self, connection: psycopg.Connection, rows: int, *, hybrid: bool) -> None:
        self._connection = connection
        self._log = make_article(connection).names.log
        if hybrid:
            connection.execute(
                "CREATE INDEX article_lexemes ON article USING gin (to_tsvector('english', body))"
            )
        connection.execute(CONTROL_QUEUE)
        self._triggers = {
            "off": {},
            "on": trigger_definitions(connection),
            "control": {"control": CONTROL_TRIGGER},
        }
        lines = (f"{number}\t0\t{text}\n" for number, text in enumerate(texts(rows)))
        self._data = "".join(lines).encode()
        connection.execute("CREATE UNLOGGED TABLE payload (id bigint, views int, body text)")
        self._copy("payload")

    def time(self, what: str, side: str) -> float:
        """Seconds of one write with that side's triggers, into the same state each time."""
        set_triggers(self._connection, {})
        if what.startswith("update"):
            self._connection.execute("VACUUM article")
        else:
            self._connection.execute("TRUNCATE article")
        self._connection.execute(f"TRUNCATE embedsql.{self._log}, control_queue".encode())
        set_triggers(self._connection, self._triggers[side])
        self._connection.execute("CHECKPOINT")
        start = time.perf_counter()
        if what == "copy":
            self._copy("article")
        elif what == "insert select":
            self._connection.execute("INSERT INTO article SELECT * FROM payload")
        else:
            self._connection.execute("UPDATE article SET views = views + 1")
        return time.perf_counter() - start

    def _copy(self, table: str) -> None:
        with (
            self._connection.cursor() as cursor,
            cursor.copy(f"COPY {table} FROM STDIN".encode()) as copy,
        ):
            for start in range(0, len(self._data), BLOCK):
                copy.write(self._data[start : start + BLOCK])


def main(arguments: Sequence[str]) -> None:
    """Both tables, every kind of write."""
    sizes = [int(argument) for argument in arguments] or [100_000, 20_000]
    figures = {}
    for name, rows in zip(("bare", "hybrid-ready"), sizes, strict=False):
        with temporary_server() as info, connect(info) as connection:
            # background work would fall on one side or the other by chance
            connection.execute("ALTER SYSTEM SET autovacuum = off")
            connection.execute("SELECT pg_reload_conf()")
            figures[name] = compare(Bulk(connection, rows, hybrid=name != "bare"), name, rows)
    write_report("triggers", figures)


def compare(bulk: Bulk, name: str, rows: int) -> dict[str, Any]:
    """On against off, and the control against off on the bare table, where it shows."""
    sides = ("off", "on", "control") if name == "bare" else ("off", "on")
    figures: dict[str, Any] = {"rows": rows}
    for what, goals in GOALS.items():
        print(f"{name}: {what} …", file=sys.stderr)
        seconds = interleaved(sides, partial(bulk.time, what))
        figures[what] = {
            f"{side} / off": ratio(seconds[side], seconds["off"]) for side in sides[1:]
        } | goals
    return figures


if __name__ == "__main__":
    main(sys.argv[1:])
