"""What the write path's benchmarks stand on: a server, texts, an index, a worker, a control."""

from __future__ import annotations

import contextlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from embedsql.catalog import describe_source
from embedsql.database import connect, conninfo
from embedsql.declare import create_index
from embedsql.embedded import EmbeddedServer
from embedsql.installation import install
from embedsql.registry import RegisteredIndex, find_index
from embedsql.spec import IndexSpec

ROUNDS = 5

# the design that the change log is compared with: one row for each key, upserted by a row trigger
CONTROL_QUEUE = """
CREATE TABLE control_queue (key bigint PRIMARY KEY, version bigint NOT NULL DEFAULT 1);
CREATE FUNCTION control_enqueue() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO control_queue AS q (key) VALUES (NEW.id)
    ON CONFLICT (key) DO UPDATE SET version = q.version + 1;
    RETURN NULL;
END $$;
"""
CONTROL_TRIGGER = """CREATE TRIGGER control AFTER INSERT OR UPDATE ON article
FOR EACH ROW EXECUTE FUNCTION control_enqueue()"""
ARTICLE = """CREATE TABLE article (
    id bigint PRIMARY KEY, views int NOT NULL DEFAULT 0, body text NOT NULL
) WITH (autovacuum_enabled = false)"""


@contextlib.contextmanager
def embedded_server(settings: Mapping[str, str] | None = None) -> Iterator[EmbeddedServer]:
    """An embedded server in a temporary home, with embedsql installed.

    Args:
        settings: Of the server, that it is restarted with.
    """
    with tempfile.TemporaryDirectory(prefix="embedsql-bench-") as folder:
        Path(folder).chmod(0o755)  # run as root, the server's own account must reach it
        server = EmbeddedServer(Path(folder) / "home")
        info = conninfo(server.start())
        try:
            with connect(info) as connection:
                install(connection)
                for name, value in (settings or {}).items():
                    connection.execute(f"ALTER SYSTEM SET {name} = {value}".encode())
            if settings:
                server.stop()
                server.start()
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def temporary_server(settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """The connection string of such a server."""
    with embedded_server(settings) as server:
        yield conninfo(server.url)


def make_article(
    connection: psycopg.Connection, table: str = "article", **options: Any
) -> RegisteredIndex:
    """A table, empty, with a semantic index of its ``body`` by ``hash:64``; options of the spec."""
    connection.execute(ARTICLE.replace("article", table).encode())
    source = describe_source(connection, table)
    values: dict[str, Any] = {
        "name": f"{table}_search",
        "table": source.name,
        "schema": source.schema,
        "key": source.key,
        "text": ("body",),
        "model": "hash:64",
        "dimensions": 64,
    }
    spec = IndexSpec(**(values | options))
    create_index(connection, spec, source)
    return find_index(connection, spec.name)


def trigger_definitions(connection: psycopg.Connection) -> dict[str, str]:
    """The statements that make the triggers of ``article``, by the triggers' names."""
    found = connection.execute(
        "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger "
        "WHERE tgrelid = 'article'::regclass AND NOT tgisinternal"
    )
    return dict(found.fetchall())


def set_triggers(connection: psycopg.Connection, triggers: Mapping[str, str]) -> None:
    """Let ``article`` have these triggers and no other."""
    for name in trigger_definitions(connection):
        connection.execute(f'DROP TRIGGER "{name}" ON article'.encode())
    for statement in triggers.values():
        connection.execute(statement.encode())


@contextlib.contextmanager
def running_worker(info: str) -> Iterator[subprocess.Popen[bytes]]:
    """``embedsql worker``, a process of its own, for as long as the block runs."""
    with subprocess.Popen(
        [Path(sys.executable).with_name("embedsql"), "worker"],
        env={**os.environ, "EMBEDSQL_DATABASE_URL": info},
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextlib.contextmanager
def queue_consumer(info: str) -> Iterator[None]:
    """What empties the control's queue, a batch at a time."""
    done = threading.Event()

    def consume() -> None:
        with connect(info) as connection:
            while not done.wait(0.002):
                connection.execute(
                    "DELETE FROM control_queue WHERE key IN "
                    "(SELECT key FROM control_queue LIMIT 100 FOR UPDATE SKIP LOCKED)"
                )

    with ThreadPoolExecutor(1) as pool:
        consumer = pool.submit(consume)
        try:
            yield
        finally:
            done.set()
        consumer.result()


def texts(count: int, characters: int = 1000, seed: int = 1) -> list[str]:
    """Texts of about that many characters: sentences of words as unevenly frequent as real ones."""
    chance = random.Random(seed)
    words = [
        "".join(chance.choices("etaoinshrdlucm", k=chance.randint(2, 11))) for _ in range(9000)
    ]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    sentences = [" ".join(chance.choices(words, weights, k=14)).capitalize() for _ in range(4000)]
    each = round(characters / (statistics.mean(map(len, sentences)) + 2))
    return [". ".join(chance.choices(sentences, k=each)) + "." for _ in range(count)]


def interleaved(
    sides: Sequence[str], run: Callable[[str], float], rounds: int = ROUNDS
) -> dict[str, list[float]]:
    """Run every side once a round, the order turned from round to round, after one unmeasured."""
    found: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds + 1):
        turn = number % len(sides)
        for side in (*sides[turn:], *sides[:turn]):
            value = run(side)
            if number:
                found[side].append(value)
    return found


def ratio(over: Sequence[float], under: Sequence[float]) -> dict[str, float]:
    """The two sides' minima, the ratio of these, and the median of the rounds' ratios."""
    return {
        "min": round(min(over), 4),
        "min of the other": round(min(under), 4),
        "ratio of min": round(min(over) / min(under), 3),
        "median ratio": round(
            statistics.median(a / b for a, b in zip(over, under, strict=True)), 3
        ),
    }


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50 and p99, in milliseconds."""
    return {f"p{at}_ms": round(float(np.percentile(seconds, at)) * 1000, 2) for at in (50, 99)}
