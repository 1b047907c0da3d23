"""From insert to visible vector, against the model's own ``encode()`` on the same texts.

The texts are documentation strings of Python's standard library, in an order that mixes lengths.
One peer is ``SentenceTransformer.encode()`` as it comes, given 32 texts at a time as they arrive,
as a plain loop would; a second is the same with the batch size that the worker has chosen. The
other two are given all texts at once and sort them, which is the model's limit.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psycopg

from benchmarks.report import write_report
from embedsql.catalog import describe_source
from embedsql.chunking import DEFAULT_TOKENS
from embedsql.chunking.tokens import TokenCounter
from embedsql.database import connect, conninfo
from embedsql.declare import create_index
from embedsql.embedded import EmbeddedServer
from embedsql.embedders import Embedder, load_embedder
from embedsql.embedders.sentence_transformers import (
    ENCODE_BATCH,
    SentenceTransformersEmbedder,
)
from embedsql.installation import install
from embedsql.spec import DEFAULT_MODEL, IndexSpec
from embedsql.worker import Worker, WorkerOptions
from examples.stdlib_docs import read_stdlib_docs

ROWS = 366  # two of the worker's usual batches
ROUNDS = 5
ARRIVAL = 32
OURS = "embedsql, insert to visible"


def main() -> None:
    """Interleave them, five rounds each with texts of its own."""
    embedder = load_embedder(DEFAULT_MODEL)
    assert isinstance(embedder, SentenceTransformersEmbedder)
    texts = [f"{doc.name}\n\n{doc.doc}" for doc in read_stdlib_docs()]
    counter = TokenCounter(embedder.tokenizer)
    texts = [text for text in texts if counter.fits(text, DEFAULT_TOKENS)]  # one chunk each
    random.Random(1).shuffle(texts)
    own = partial(embedder._model.encode, show_progress_bar=False)
    chosen = partial(own, batch_size=ENCODE_BATCH["torch"])
    with tempfile.TemporaryDirectory(prefix="embedsql-bench-") as folder:
        Path(folder).chmod(0o755)  # run as root, the server's own account must reach it
        server = EmbeddedServer(Path(folder) / "home")
        info = conninfo(server.start())
        try:
            with connect(info) as connection:
                prepare(connection)
                worker_of(info).run()  # loads the model, builds the empty vector index
                sides: dict[str, Callable[[list[str]], object]] = {
                    "encode, arrival order": partial(in_arrival_order, own),
                    "chosen batch size, arrival order": partial(in_arrival_order, chosen),
                    "encode, sorted": own,
                    "chosen batch size, sorted": chosen,
                    OURS: partial(ingest, connection, info),
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
    write_report(
        "ingest",
        {
            "rows": ROWS,
            "seconds": seconds,
            "rows per second, median": rate,
            **{f"embedsql / {side}": rate[OURS] / rate[side] for side in sides if side != OURS},
        },
    )


def in_arrival_order(encode: Callable[[list[str]], object], texts: list[str]) -> None:
    """Encode texts as a loop over what arrives would."""
    for start in range(0, len(texts), ARRIVAL):
        encode(texts[start : start + ARRIVAL])


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


def ingest(connection: psycopg.Connection, info: str, texts: list[str]) -> None:
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


if __name__ == "__main__":
    main()
