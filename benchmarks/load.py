"""A load that behaves badly: several writers, growing, that insert, edit, blank, delete, rekey."""

from __future__ import annotations

import contextlib
import functools
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator

import psycopg

from benchmarks.stage import texts
from embedsql.database import connect
from embedsql.errors import ConnectionFailedError

WRITERS = 3
FIRST_KEYS, MOST_KEYS = 500, 4000  # of one writer, at the beginning and after GROWTH_SECONDS
GROWTH_SECONDS = 60.0
FIRST_PAUSE, LAST_PAUSE = 0.05, 0.01
KINDS = ("insert", "edit", "blank", "delete", "rekey", "rollback")
WEIGHTS = (40, 30, 3, 15, 10, 2)


@functools.cache
def bodies() -> list[str]:
    """Texts for the load; made when asked for, since a worker's process imports this, too."""
    return texts(1000, characters=200)


@contextlib.contextmanager
def unruly_load(info: str, seed: int = 1) -> Iterator[Counter[str]]:
    """Writers on ``article`` for as long as the block runs, whatever becomes of their connections.

    Yields:
        How often each kind of transaction was committed, and each error was met.
    """
    done = threading.Event()
    tally: Counter[str] = Counter()
    writers = [
        threading.Thread(target=_write, args=(info, place, seed, done, tally))
        for place in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    try:
        yield tally
    finally:
        done.set()
        for writer in writers:
            writer.join()


def _write(info: str, place: int, seed: int, done: threading.Event, tally: Counter[str]) -> None:
    chance = random.Random(seed * 100 + place)
    began = time.monotonic()
    connection: psycopg.Connection | None = None
    while not done.is_set():
        grown = min(1.0, (time.monotonic() - began) / GROWTH_SECONDS)
        keys = round(FIRST_KEYS + grown * (MOST_KEYS - FIRST_KEYS))
        kind = chance.choices(KINDS, WEIGHTS)[0]
        try:
            if connection is None or connection.closed:
                connection = connect(info, application_name="writer")
            with connection.transaction(force_rollback=kind == "rollback"):
                _change(connection, kind, place * 10**6, keys, chance)
            tally[kind] += 1
        except (psycopg.Error, ConnectionFailedError) as error:
            tally[type(error).__name__] += 1
            done.wait(0.1)
        done.wait(FIRST_PAUSE + grown * (LAST_PAUSE - FIRST_PAUSE))
    if connection is not None:
        connection.close()


def _change(
    connection: psycopg.Connection, kind: str, first: int, keys: int, chance: random.Random
) -> None:
    """One transaction on a few of the writer's own keys."""
    some = [first + key for key in chance.sample(range(keys), chance.randint(1, 20))]
    if kind in ("insert", "rollback"):
        connection.execute(
            "INSERT INTO article (id, body) SELECT * FROM unnest(%s::bigint[], %s::text[]) "
            "ON CONFLICT (id) DO UPDATE SET body = EXCLUDED.body",
            [some, chance.choices(bodies(), k=len(some))],
        )
    elif kind in ("edit", "blank"):
        body = chance.choice(bodies()) if kind == "edit" else ""
        for key in some[:5]:
            connection.execute("UPDATE article SET body = %s WHERE id = %s", [body, key])
    elif kind == "delete":
        connection.execute("DELETE FROM article WHERE id = ANY (%s)", [some[:5]])
    else:  # to another key of its own, if that is free
        old, new = some[0], first + chance.randrange(keys)
        connection.execute(
            "UPDATE article SET id = %(new)s WHERE id = %(old)s "
            "AND NOT EXISTS (SELECT FROM article WHERE id = %(new)s)",
            {"old": old, "new": new},
        )
