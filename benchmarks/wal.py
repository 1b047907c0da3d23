"""Write-ahead log for each embedded row, against that of the vectors alone.

One side is the whole way of a row that was inserted: claim, chunk, row, acknowledgement. The other
is a COPY of the same vectors into a table of a key and a vector, with its primary key. The row's
own INSERT belongs to the application and is not counted; nor is the approximate index, which
either side might have.
"""

from __future__ import annotations

import statistics

import numpy as np
import psycopg
from pgvector.psycopg import register_vector

from benchmarks.report import write_report
from benchmarks.stage import ROUNDS, make_article, temporary_server
from embedsql.database import connect
from embedsql.declare import drop_index
from embedsql.worker import Worker, WorkerOptions

ROWS = 20_000
DIMENSIONS = 384


def main() -> None:
    """Rounds of both, in turns."""
    ours, theirs = [], []
    # a page's first change after a checkpoint is logged whole: let there be none meanwhile
    settings = {"max_wal_size": "'16GB'", "checkpoint_timeout": "'1h'"}
    with temporary_server(settings) as info, connect(info) as connection:
        for _ in range(ROUNDS):
            ours.append(embedded(connection, info) / ROWS)
            theirs.append(copied(connection) / ROWS)
    write_report(
        "wal",
        {
            "rows": ROWS,
            "dimensions": DIMENSIONS,
            "embedded_bytes_per_row": statistics.median(ours),
            "copied_bytes_per_row": statistics.median(theirs),
            "ratio": statistics.median(ours) / statistics.median(theirs),
        },
    )


def embedded(connection: psycopg.Connection, info: str) -> int:
    """Bytes that a worker's drain writes."""
    connection.execute("DROP TABLE IF EXISTS article")
    index = make_article(
        connection, lexical=None, index="none", model=f"hash:{DIMENSIONS}", dimensions=DIMENSIONS
    )
    connection.execute(
        "INSERT INTO article (id, body) "
        "SELECT n, md5(n::text) || ' ' || md5(n::text || 'b') FROM generate_series(1, %s) AS n",
        [ROWS],
    )
    before = position(connection)
    Worker(info, WorkerOptions(drain=True)).run()
    written = position(connection) - before
    drop_index(connection, index.spec.name)
    return written


def copied(connection: psycopg.Connection) -> int:
    """Bytes that a COPY of as many vectors writes."""
    connection.execute("DROP TABLE IF EXISTS bare")
    connection.execute(f"CREATE TABLE bare (id bigint PRIMARY KEY, v vector({DIMENSIONS}))")
    connection.execute("ALTER TABLE bare ALTER COLUMN v SET STORAGE PLAIN")
    vectors = np.random.default_rng(1).normal(size=(ROWS, DIMENSIONS)).astype(np.float32)
    register_vector(connection)
    before = position(connection)
    with connection.cursor().copy("COPY bare FROM STDIN WITH (FORMAT BINARY)") as copy:
        copy.set_types(["int8", "vector"])
        for key, vector in enumerate(vectors):
            copy.write_row((key, vector))
    return position(connection) - before


def position(connection: psycopg.Connection) -> int:
    """Bytes of write-ahead log since the server was made."""
    row = connection.execute(
        "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
    ).fetchone()
    assert row is not None
    return int(row[0])


if __name__ == "__main__":
    main()
