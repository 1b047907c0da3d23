"""What our layer adds to a search, and what a hybrid statement costs.

The same statement by hand in psycopg; building it; a hybrid one against its two lanes; a word that
is in four of ten rows against the textbook statement of reciprocal rank fusion (pgvector's own
example). All in turns, medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
from sqlalchemy import BigInteger, Column, MetaData, Table
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.orm import Session

from benchmarks.collections import find_collections
from benchmarks.report import write_report
from benchmarks.stage import temporary_server
from embedsql import SemanticIndex
from embedsql.catalog import describe_source
from embedsql.database import connect, engine
from embedsql.declare import create_index
from embedsql.search import Mode
from embedsql.search.query import vector_text
from embedsql.spec import IndexSpec
from embedsql.worker import Worker, WorkerOptions

ROUNDS = 40
DOCUMENT = Table("document", MetaData(), Column("id", BigInteger, primary_key=True))
SEARCH = SemanticIndex("document_search", DOCUMENT, text="body", model="hash:256")

# https://github.com/pgvector/pgvector-python/blob/master/examples/hybrid_search/rrf.py
_TEXTBOOK = """
WITH semantic_search AS (
    SELECT id, RANK () OVER (ORDER BY embedding <=> %(vector)s::vector) AS rank
    FROM textbook ORDER BY embedding <=> %(vector)s::vector LIMIT 20
), keyword_search AS (
    SELECT id, RANK () OVER (ORDER BY ts_rank_cd(to_tsvector('english', body), query) DESC)
    FROM textbook, plainto_tsquery('english', %(words)s) query
    WHERE to_tsvector('english', body) @@ query
    ORDER BY ts_rank_cd(to_tsvector('english', body), query) DESC LIMIT 20
)
SELECT COALESCE(semantic_search.id, keyword_search.id) AS id,
       COALESCE(1.0 / (60 + semantic_search.rank), 0.0)
         + COALESCE(1.0 / (60 + keyword_search.rank), 0.0) AS score
FROM semantic_search FULL OUTER JOIN keyword_search ON semantic_search.id = keyword_search.id
ORDER BY score DESC LIMIT 10
"""


def main() -> None:
    """Fill, then time everything in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    rows = parser.parse_args().rows
    found = find_collections("debpkg")
    if not found:
        print("search_cost: no judged collection here (EMBEDSQL_DATASETS names their folder)")
        return
    with temporary_server() as info, connect(info) as connection:
        texts = [text[:1000] for _, _, text in found[0].documents()][:rows]
        fill(connection, info, texts)
        word = common_word(connection)
        words = ["secure shell client", "parse json fast", "image viewer", "mail server spam"]
        figures = measure(info, connection, words, word)
    write_report("search_cost", {"rows": rows, "common_word": word, **figures})


def fill(connection: psycopg.Connection, info: str, texts: list[str]) -> None:
    """The texts, indexed by us and as the textbook has it."""
    connection.execute("CREATE TABLE document (id bigint PRIMARY KEY, body text)")
    with connection.cursor().copy("COPY document FROM STDIN") as copy:
        for number, text in enumerate(texts, 1):
            copy.write_row((number, text))
    source = describe_source(connection, "document")
    spec = IndexSpec(
        name="document_search",
        table="document",
        key=source.key,
        text=("body",),
        model="hash:256",
        dimensions=256,
        chunking=None,
    )
    create_index(connection, spec, source)
    Worker(info, WorkerOptions(drain=True)).run()
    connection.execute(
        "CREATE TABLE textbook AS SELECT d.id, d.body, s.embedding::vector(256) AS embedding "
        "FROM document AS d JOIN document_search AS s ON s.id = d.id"
    )
    connection.execute("CREATE INDEX ON textbook USING gin (to_tsvector('english', body))")
    connection.execute("CREATE INDEX ON textbook USING hnsw (embedding vector_cosine_ops)")
    connection.execute("VACUUM ANALYZE")


def common_word(connection: psycopg.Connection) -> str:
    """The word whose share of the rows is nearest to four in ten."""
    row = connection.execute(
        "SELECT word FROM ts_stat('SELECT to_tsvector(''english'', body) FROM document') "
        "WHERE word ~ '^[a-z]{4,}$' "
        "ORDER BY abs(ndoc - 0.4 * (SELECT count(*) FROM document)) LIMIT 1"
    ).fetchone()
    assert row is not None
    return str(row[0])


def measure(
    info: str, connection: psycopg.Connection, words: list[str], common: str
) -> dict[str, Any]:
    """Milliseconds, medians, and their ratios."""
    database = engine(info)
    with Session(database) as session:

        def by_layer(text: str, mode: Mode = "hybrid") -> Callable[[], None]:
            def run() -> None:
                session.execute(SEARCH.search(text, mode=mode)).all()

            return run

        sides: dict[str, list[Callable[[], Any]]] = {
            "layer": [by_layer(text) for text in words],
            "by_hand": [by_hand(connection, text) for text in words],
            "building": [partial(SEARCH.search, text) for text in words],
            "dense": [by_layer(text, "dense") for text in words],
            "lexical": [by_layer(text, "lexical") for text in words],
            "hybrid": [by_layer(text) for text in words],
            "common_hybrid": [by_layer(f"{common} {words[0]}"), by_layer(common)],
            "common_textbook": [textbook(connection, common)],
        }
        times: dict[str, list[float]] = {name: [] for name in sides}
        for round_ in range(ROUNDS):
            for name, runs in sides.items():
                started = time.perf_counter()
                runs[round_ % len(runs)]()
                times[name].append(1000 * (time.perf_counter() - started))
    database.dispose()
    p50 = {name: statistics.median(taken[4:]) for name, taken in times.items()}
    return {
        "p50_ms": p50,
        "layer_over_by_hand": p50["layer"] / p50["by_hand"],
        "building_ms": p50["building"],
        "hybrid_over_lanes": p50["hybrid"] / (p50["dense"] + p50["lexical"]),
        "textbook_over_hybrid": p50["common_textbook"] / p50["common_hybrid"],
    }


def by_hand(connection: psycopg.Connection, text: str) -> Callable[[], None]:
    """The same SQL in psycopg, prepared once."""
    compiled = SEARCH.search(text).compile(dialect=PGDialect_psycopg())  # type: ignore[no-untyped-call]
    sql, parameters = str(compiled).encode(), compiled.params

    def run() -> None:
        with connection.transaction():
            connection.execute(sql, parameters).fetchall()

    return run


def textbook(connection: psycopg.Connection, common: str) -> Callable[[], None]:
    """Reciprocal rank fusion as everyone ships it."""
    values = {"vector": vector_text(SEARCH.query_vector(common)), "words": common}

    def run() -> None:
        connection.execute(_TEXTBOOK, values).fetchall()

    return run


if __name__ == "__main__":
    main()
