"""From insert to visible vector, against the model's own ``encode()`` on the same texts.

The texts are documentation strings of Python's standard library, in an order that mixes lengths.
One peer encodes them 32 at a time as they arrive, as a plain loop would; the other is given all of
them at once and sorts them, which is the model's limit.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg

from benchmarks.report import write_report
from embedsql.catalog import describe_source
from embedsql.database import connect, conninfo
from embedsql.declare import create_index
from embedsql.embedded import EmbeddedServer
from embedsql.embedders import Embedder, load_embedder
from embedsql.installation import install
from embedsql.spec import DEFAULT_MODEL, IndexSpec
from embedsql.worker import Worker, WorkerOptions
from examples.stdlib_docs import read_stdlib_docs

ROWS = 366  # of 1,833 texts; two of the worker's usual batches
ROUNDS = 5
ARRIVAL = 32


def main() -> None:
    """Interleave the three, five rounds each with texts of its own."""
    texts = [f"{doc.name}\n\n{doc.doc}" for doc in read_stdlib_docs()]
    texts = [text for text in texts if len(text) < 900]  # one chunk each, on either side
    random.Random(1).shuffle(texts)
    embedder = load_embedder(DEFAULT_MODEL)

    def in_arrival_order(batch: Sequence[str]) -> None:
        for start in range(0, len(batch), ARRIVAL):
            embedder.embed_documents(batch[start : start + ARRIVAL])

    with tempfile.TemporaryDirectory(prefix="embedsql-bench-") as folder:
        Path(folder).chmod(0o755)  # run as root, the server's own account must reach it
        server = EmbeddedServer(Path(folder) / "home")
        info = conninfo(server.start())
        try:
            with connect(info) as connection:
                prepare(connection)
                worker_of(info).run()  # loads the model, builds the empty vector index
                sides: dict[str, Callable[[Sequence[str]], None]] = {
                    "encode, arrival order": in_arrival_order,
                    "encode, sorted": lambda batch: void(embedder.embed_documents(batch)),
                    "embedsql, insert to visible": lambda batch: ingest(connection, info, batch),
                }
                seconds: dict[str, list[float]] = {name: [] for name in sides}
                for turn in range(ROUNDS):
                    batch = texts[turn * ROWS : (turn + 1) * ROWS]
                    for name, run in sides.items():
                        started = time.perf_counter()
                        run(batch)
                        seconds[name].append(time.perf_counter() - started)
        finally:
            server.stop()
    rate = {name: ROWS / statistics.median(times) for name, times in seconds.items()}
    ours = rate["embedsql, insert to visible"]
    write_report(
        "ingest",
        {
            "rows": ROWS,
            "seconds": seconds,
            "rows per second, median": rate,
            "embedsql / encode in arrival order": ours / rate["encode, arrival order"],
            "embedsql / sorted encode": ours / rate["encode, sorted"],
        },
    )


def prepare(connection: psycopg.Connection) -> None:
    """An empty table with an index on it."""
    install(connection)
    connection.execute(
        "CREATE TABLE doc (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text)"
    )
    source = describe_source(connection, "doc")
    spec = IndexSpec(
        name="doc_search",
        table="doc",
        schema="public",
        key=source.key,
        text=("body",),
        dimensions=384,
    )
    create_index(connection, spec, source)


def ingest(connection: psycopg.Connection, info: str, texts: Sequence[str]) -> None:
    """Insert, and wait for the last vector. The worker's model is loaded already."""
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO doc (body) VALUES (%s)", [(text,) for text in texts])
    worker_of(info).run()


_EMBEDDER: dict[tuple[object, ...], Embedder] = {}


def worker_of(info: str) -> Worker:
    """A draining worker; all of them share one model."""
    worker = Worker(info, WorkerOptions(drain=True))
    worker._lanes._embedders = _EMBEDDER
    return worker


def void(_: object) -> None:
    """Drop a result."""


if __name__ == "__main__":
    main()
