"""Until all is searchable: an index built after the vectors, against inserting into a live one.

The same rows are written in the same batches, as the worker writes them, into a table whose HNSW
index is built afterwards and into one that has it from the start; in turns.
"""

from __future__ import annotations

import argparse
import time

import psycopg

from benchmarks.quantization import fill, make
from benchmarks.real_vectors import load_sample, real_vectors
from benchmarks.report import write_report
from benchmarks.stage import temporary_server
from embedsql.database import connect
from embedsql.declare import drop_index
from embedsql.vector_index import ensure_vector_indexes

BATCH = 256


def main() -> None:
    """Both, in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    real = real_vectors(options.rows)
    if real is None:
        print("deferred_index: no judged collection here (EMBEDSQL_DATASETS names their folder)")
        return
    deferred, live = [], []
    with temporary_server({"max_wal_size": "'8GB'"}) as info, connect(info) as connection:
        load_sample(connection, real)
        for _ in range(options.rounds):
            deferred.append(until_searchable(connection, options.rows, live=False))
            live.append(until_searchable(connection, options.rows, live=True))
    write_report(
        "deferred_index",
        {
            "rows": options.rows,
            "deferred_seconds": deferred,
            "live_seconds": live,
            "live_over_deferred": min(live) / min(deferred),
        },
    )


def until_searchable(connection: psycopg.Connection, rows: int, *, live: bool) -> float:
    """Seconds from the first batch until every vector is in the index."""
    index = make(connection, "full")
    connection.execute("CHECKPOINT")
    if live:
        ensure_vector_indexes(connection, index)
    started = time.perf_counter()
    for first in range(1, rows + 1, BATCH):
        fill(connection, index, first, first + BATCH)
    ensure_vector_indexes(connection, index)
    seconds = time.perf_counter() - started
    drop_index(connection, index.spec.name)
    connection.execute("DROP TABLE as_full")
    return seconds


if __name__ == "__main__":
    main()
