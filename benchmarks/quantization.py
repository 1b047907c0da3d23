"""What a smaller form of the vectors costs in found rows, and saves in bytes; real vectors.

Every form stores the same vectors of the same texts and answers the same judged queries. Recall is
against exact search over the full vectors; sizes are those of PostgreSQL's files.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any

import ir_measures
import numpy as np
import numpy.typing as npt
import psycopg
from ir_measures import nDCG
from psycopg import sql
from sqlalchemy import BigInteger, Column, MetaData, Table
from sqlalchemy.orm import Session

from benchmarks.real_vectors import RealVectors, load_sample, real_vectors
from benchmarks.report import write_report
from benchmarks.stage import temporary_server
from embedsql.catalog import describe_source
from embedsql.database import connect, engine
from embedsql.declare import create_index
from embedsql.registry import RegisteredIndex, find_index
from embedsql.search import Query, search_statement
from embedsql.search.target import Target
from embedsql.slots import Slots
from embedsql.spec import DEFAULT_MODEL, IndexSpec
from embedsql.tables import source_of
from embedsql.vector_index import ensure_vector_indexes
from embedsql.vector_slots import VectorSlots

FORMS: dict[str, dict[str, Any]] = {
    "full": {},
    "halfvec": {"quantization": "halfvec"},
    "bit": {"quantization": "bit"},
    "bit_halfvec": {"quantization": "bit", "stored": "halfvec"},
    "int8": {"quantization": "int8"},
    "ivfflat": {"index": "ivfflat"},
}
FOUND = 10


def main() -> None:
    """Fill, build, ask."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    rows = parser.parse_args().rows
    real = real_vectors(rows)
    if real is None:
        print("quantization: no judged collection here (EMBEDSQL_DATASETS names their folder)")
        return
    exact = nearest(real.vectors, real.query_vectors)
    with temporary_server({"max_wal_size": "'8GB'"}) as info, connect(info) as connection:
        load_sample(connection, real)
        figures = {name: measure(connection, name, real, exact) for name in FORMS}
    full = figures["full"]
    for form in figures.values():
        form["index_ratio"] = form["index_bytes"] / full["index_bytes"]
        form["bytes_ratio"] = form["vector_bytes_per_row"] / full["vector_bytes_per_row"]
        form["ndcg_ratio"] = form["ndcg@10"] / full["ndcg@10"]
        form["recall_change"] = form["recall@10"] - full["recall@10"]
    write_report("quantization", {"rows": rows, "queries": len(real.queries), "forms": figures})


def nearest(
    vectors: npt.NDArray[np.float32], queries: npt.NDArray[np.float32]
) -> list[npt.NDArray[np.float32]]:
    """The similarities of the nearest, best first: equal texts are equally right."""
    similar = queries @ vectors.T
    return [np.sort(one)[::-1][:FOUND] for one in similar]


def measure(
    connection: psycopg.Connection, name: str, real: RealVectors, exact: Sequence[Any]
) -> dict[str, Any]:
    """One form, from an empty table to judged answers."""
    index = make(connection, name)
    fill(connection, index)
    started = time.perf_counter()
    ensure_vector_indexes(connection, index)
    built = time.perf_counter() - started
    connection.execute("VACUUM ANALYZE")
    heap, approximate = sizes(connection, index)
    found, milliseconds = ask(connection, index, real)
    recall = [
        sum(score >= best[-1] - 1e-6 for score in similarities(real, place, ids)) / FOUND
        for place, (ids, best) in enumerate(zip(found, exact, strict=True))
    ]
    run = {
        query: {real.names[key - 1]: 1.0 - rank / 100 for rank, key in enumerate(ids)}
        for query, ids in zip(real.queries, found, strict=True)
    }
    ndcg = ir_measures.calc_aggregate([nDCG @ 10], real.relevant, run)[nDCG @ 10]
    return {
        "recall@10": float(np.mean(recall)),
        "ndcg@10": ndcg,
        "index_bytes": approximate,
        "vector_bytes_per_row": (heap + approximate) / len(real.texts),
        "build_seconds": built,
        "p50_ms": statistics.median(milliseconds),
    }


def make(connection: psycopg.Connection, name: str) -> RegisteredIndex:
    """An index of that form, on a table of its own that holds the sample."""
    named = f"as_{name}"  # a table called as a type cannot be made
    table = sql.Identifier(named)
    connection.execute(sql.SQL("CREATE TABLE {} (id bigint PRIMARY KEY, body text)").format(table))
    source = describe_source(connection, named)
    spec = IndexSpec(
        name=f"{named}_search",
        table=named,
        key=source.key,
        text=("body",),
        model=DEFAULT_MODEL,
        dimensions=384,
        lexical=None,
        **FORMS[name],
    )
    create_index(connection, spec, source)
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")  # no triggers
        connection.execute(sql.SQL("INSERT INTO {} SELECT id, body FROM sample").format(table))
    return find_index(connection, spec.name)


def fill(
    connection: psycopg.Connection, index: RegisteredIndex, first: int = 1, end: int = 1 << 62
) -> None:
    """The sample's vectors as chunks, by the expressions that the worker writes with."""
    slots = Slots(index.spec, index.names)
    vector = VectorSlots(slots)
    statement = sql.SQL(
        "INSERT INTO {} (key_1, chunk_seq, start_offset, content_hash, chunk{}) "
        "SELECT id, 0, 0, ''::bytea, ''{} FROM sample AS k {} "
        "WHERE k.id >= %(first)s AND k.id < %(end)s"
    ).format(slots.chunk, vector.saved_columns, vector.saved_values, vector.saved_from)
    connection.execute(statement, {"first": first, "end": end})


def sizes(connection: psycopg.Connection, index: RegisteredIndex) -> tuple[int, int]:
    """Bytes of the chunks' heap, and of the approximate index."""
    row = connection.execute(
        "SELECT pg_table_size(to_regclass(%s)), pg_relation_size(to_regclass(%s))",
        [f'embedsql."{index.names.chunk}"', f'embedsql."{index.names.vector_index}"'],
    ).fetchone()
    assert row is not None
    return row


def ask(
    connection: psycopg.Connection, index: RegisteredIndex, real: RealVectors
) -> tuple[list[list[int]], list[float]]:
    """Keys that each query finds, with the default settings; and the milliseconds it takes."""
    table = Table(index.spec.table, MetaData(), Column("id", BigInteger, primary_key=True))
    target = Target(index.spec.name, source_of(table), index.spec.vectors, None)
    database = engine(connection.info.dsn)
    found, milliseconds = [], []
    with Session(database) as session:
        for vector in real.query_vectors:
            query = Query(vector=vector, mode="dense", limit=FOUND)
            started = time.perf_counter()
            rows = session.execute(search_statement(target, query)).all()
            milliseconds.append(1000 * (time.perf_counter() - started))
            assert {row[-1].strategy for row in rows} == {"ann"}
            found.append([row[0] for row in rows])
    database.dispose()
    return found, milliseconds


def similarities(real: RealVectors, query: int, ids: Sequence[int]) -> npt.NDArray[np.float32]:
    """The true similarities of what was found."""
    found: npt.NDArray[np.float32] = real.vectors[np.asarray(ids) - 1] @ real.query_vectors[query]
    return found


if __name__ == "__main__":
    main()
