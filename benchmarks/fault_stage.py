"""A server under fault with workers on it: how fast they go, what they lost, when they are back."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
from psycopg import sql

from benchmarks.load import bodies
from benchmarks.workers import start_worker
from embedsql.database import connect, conninfo
from embedsql.embedded import EmbeddedServer
from embedsql.embedders.hashing import HashEmbedder
from embedsql.errors import ConnectionFailedError
from embedsql.registry import find_index
from embedsql.verify import Verdict, verify_index

ROUNDS = 5
MEASURED_ROWS, EACH = 3000, 100  # inserted so many a statement
SETTLE_SECONDS = 240.0
EMBEDDER = HashEmbedder("hash:64")


@dataclass(frozen=True)
class Sizes:
    """How much of each fault."""

    worker_kills: int = 200
    server_kills: int = 20
    terminate_seconds: float = 20.0
    exhausted_seconds: float = 15.0


QUICK = Sizes(20, 3, 5.0, 5.0)


class FaultStage:
    """A server with two tables, the load's and the measured one, and workers that are restarted."""

    def __init__(self, server: EmbeddedServer, sizes: Sizes) -> None:
        self.server = server
        self.sizes = sizes
        self.info = conninfo(server.url)
        self.chance = random.Random(3)
        self.workers = [start_worker(self.info)]

    def close(self) -> None:
        """End the workers."""
        for worker in self.workers:
            worker.terminate()
            worker.join()

    def throughput(self) -> tuple[list[float], list[float]]:
        """Seconds from the first insert until the last vector, of rounds of the same load.

        Beside them, of the same rounds, of a control: the same rows into a table without an index,
        and through the embedder alone. It tells how busy the machine was with other things.
        """
        ours, control = [], []
        with self._patient() as connection:
            for _ in range(ROUNDS):
                connection.execute("TRUNCATE measured, bare")
                control.append(self._insert(connection, "bare"))
                ours.append(self._insert(connection, "measured"))
        return ours, control

    def _insert(self, connection: psycopg.Connection, table: str) -> float:
        statement = sql.SQL(
            "INSERT INTO {} (id, body) "
            "SELECT n, n || %s FROM generate_series(%s::int, %s) AS n RETURNING body"
        ).format(sql.Identifier(table))
        started = time.perf_counter()
        for first in range(0, MEASURED_ROWS, EACH):
            values = [self.chance.choice(bodies()), first, first + EACH - 1]
            rows = connection.execute(statement, values).fetchall()
            if table == "bare":
                EMBEDDER.embed_documents([body for (body,) in rows])
        if table == "measured":
            while connection.execute("SELECT FROM measured_search").rowcount < MEASURED_ROWS:
                self._check_time(started)
                time.sleep(0.02)
        return time.perf_counter() - started

    def verdict(self) -> Verdict:
        """Of the load's table, once nothing waits any more."""
        started = time.perf_counter()
        with self._patient() as connection:
            while True:
                found = verify_index(connection, find_index(connection, "article_search"))
                if not found.pending:
                    return found
                self._check_time(started)
                time.sleep(0.5)

    def recovery(self) -> float:
        """Seconds until a row inserted now is in the index."""
        started = time.perf_counter()
        with self._patient() as connection:
            connection.execute("TRUNCATE measured")
            connection.execute("INSERT INTO measured (id, body) VALUES (-1, 'after the fault')")
            while not connection.execute("SELECT FROM measured_search").rowcount:
                self._check_time(started)
                time.sleep(0.02)
        return time.perf_counter() - started

    @staticmethod
    def _check_time(started: float) -> None:
        if time.perf_counter() - started > SETTLE_SECONDS:
            raise TimeoutError("the worker does not get on")

    @contextlib.contextmanager
    def _patient(self) -> Iterator[psycopg.Connection]:
        deadline = time.monotonic() + 60
        while True:
            try:
                connection = connect(self.info, application_name="measure")
                break
            except ConnectionFailedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        with connection:
            yield connection
