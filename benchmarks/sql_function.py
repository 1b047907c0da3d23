"""What a question costs in SQL: with a worker that embeds it, and when its vector is known.

The hash embedder costs next to nothing, so what is timed is the way of the text to the worker and
of the vector back, and the search. Beside them, question by question: the search with the vector
given, which is what the way is added to, and a bare one-shot dblink connection, the way's floor.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg

from benchmarks.report import write_report
from benchmarks.stage import (
    make_article,
    percentiles,
    ratio,
    running_worker,
    temporary_server,
    texts,
)
from embedsql.database import connect
from embedsql.embedders.hashing import HashEmbedder
from embedsql.search.query import vector_text

GOALS = {"floor": {"p50_ms": 50}, "goal": {"p50_ms": 15}}
ROWS = 2000
QUESTIONS = 200
PATIENCE_SECONDS = 120
ASK = "SELECT * FROM article_search(%s, 10)"
WAYS = {
    "a worker answers": ASK,
    "its vector is known": ASK,
    "its vector is given": "SELECT * FROM article_search(%s, 10, vector => %s)",
    "a bare dblink connection": "SELECT * FROM dblink(embedsql.loopback(1000), %s) AS t (one int)",
}


def main() -> None:
    """Ask each question in four ways."""
    with temporary_server() as info, connect(info) as connection:
        make_article(connection)
        with connection.cursor() as cursor, cursor.copy("COPY article (id, body) FROM STDIN") as to:
            for key, text in enumerate(texts(ROWS)):
                to.write_row((key, text))
        with running_worker(info):
            settle(connection)
            seconds = measure(connection)
    way = percentiles(seconds["a worker answers"])["p50_ms"]
    given = percentiles(seconds["its vector is given"])["p50_ms"]
    figures: dict[str, Any] = {
        "rows": ROWS,
        "questions": QUESTIONS,
        **{name: percentiles(taken) for name, taken in seconds.items()},
        "the way alone, p50_ms": round(way - given, 2),
        "asked / given": ratio(seconds["a worker answers"], seconds["its vector is given"]),
        **GOALS,
    }
    write_report("sql_function", figures)


def measure(connection: psycopg.Connection) -> dict[str, list[float]]:
    """Seconds of each question, by way."""
    embedder = HashEmbedder("hash:64")
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for question in texts(QUESTIONS, characters=60, seed=3):
        vector = vector_text(embedder.embed_queries([question])[0])
        for name, statement in WAYS.items():
            values = {2: [question, vector], 1: [question]}[statement.count("%s")]
            start = time.perf_counter()
            connection.execute(
                statement.encode(), ["SELECT 1"] if "dblink" in name else values
            ).fetchall()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def settle(connection: psycopg.Connection) -> None:
    """Until every row is embedded, the index is built and a question is answered."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    ready = (
        "SELECT to_regclass('embedsql.article_search_chunk_1_ann') IS NOT NULL AND count(*) > 0 "
        "FROM article_search(%s, 1) WHERE strategy = 'ann'"
    )
    for number in range(PATIENCE_SECONDS * 10):
        if connection.execute(ready, [f"first question {number}"]).fetchone() == (True,):
            return
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    raise TimeoutError(f"the worker is not ready after {PATIENCE_SECONDS} s")


if __name__ == "__main__":
    main()
