"""Rows embedded a second with an endpoint that answers at once, against pgai's vectorizer worker.

What is left is the pipeline: find the rows, read them, ask, write, acknowledge. Both sides run as
their users run them, on rows of the same texts in one server, with no index on the vectors and no
chunking, and with the batch size that is their best here. A run lasts from the first texts that
the endpoint sees to the last commit, both in the machine's time, so that neither side's start
counts. What they stored is compared with what the endpoint gave.

A third side is the limit: nothing but the COPY of the same texts and vectors, made beforehand, into
a table with a primary key. No pipeline that leaves them in such a table is faster.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from pgvector.psycopg import register_vector
from psycopg import sql

from benchmarks.endpoint import DIMENSIONS, Endpoint, instant_endpoint, vector_place, vectors
from benchmarks.peers import PGAI, PeerAbsentError
from benchmarks.report import write_report
from benchmarks.stage import interleaved, ratio, temporary_server, texts
from embedsql.catalog import describe_source
from embedsql.database import connect
from embedsql.declare import create_index, drop_index
from embedsql.spec import IndexSpec

GOALS = {"floor": 20, "goal": 40}
CHARACTERS = 300
ROWS = 32_768  # sixteen of the largest batches: the first and the last count little
SIDES = ("embedsql", PGAI.name)
OUR_BATCHES = (256, 1024, 2048)
PGAI_SETTINGS = ((50, 1), (256, 4), (1024, 2), (2048, 1), (2048, 2))  # batch size, concurrency
PGAI_DEFAULT = (50, 1)
CREATE_VECTORIZER = """
SELECT ai.create_vectorizer(
    {table}::regclass, name => 'peer', loading => ai.loading_column('body'),
    destination => ai.destination_table('peer_embedding'),
    embedding => ai.embedding_openai('instant', {dimensions}, base_url => {base_url}),
    chunking => ai.chunking_none(), formatting => ai.formatting_python_template('$chunk'),
    indexing => ai.indexing_none(), scheduling => ai.scheduling_none(),
    processing => ai.processing_default({batch}, {concurrency}))
"""


class Stage:
    """A table for each side, and what its rows become."""

    def __init__(self, info: str, connection: psycopg.Connection, endpoint: Endpoint) -> None:
        self._info = info
        self._connection = connection
        self._endpoint = endpoint
        register_vector(connection)
        for side in SIDES:
            table = sql.Identifier(_table(side))
            connection.execute(
                sql.SQL("CREATE TABLE {} (id bigint PRIMARY KEY, body text NOT NULL)").format(table)
            )
            copy_in = sql.SQL("COPY {} FROM STDIN").format(table)
            with connection.cursor() as cursor, cursor.copy(copy_in) as copy:
                for row in enumerate(texts(ROWS, CHARACTERS)):
                    copy.write_row(row)
        self._rows = self._copied_rows()
        connection.execute("VACUUM ANALYZE")

    def ours(self, batch: int) -> float:
        """Seconds a row of ``embedsql worker --drain``."""
        source = describe_source(self._connection, "embedsql_article")
        spec = IndexSpec(
            name="article_search",
            table=source.name,
            schema=source.schema,
            key=source.key,
            text=("body",),
            model="openai:instant",
            base_url=self._endpoint.base_url,
            dimensions=DIMENSIONS,
            index="none",
            lexical=None,
            chunking=None,
        )
        create_index(self._connection, spec, source)
        self._connection.execute("CHECKPOINT")
        program = Path(sys.executable).with_name("embedsql")
        subprocess.run(
            [program, "worker", "--drain", "--batch-size", str(batch)],
            env={**os.environ, "EMBEDSQL_DATABASE_URL": self._info},
            stderr=subprocess.DEVNULL,
            check=True,
        )
        seconds = self._judge("embedsql", sql.Identifier("embedsql", spec.names.chunk), "key_1")
        drop_index(self._connection, spec.name)
        return seconds

    def pgai(self, batch: int, concurrency: int) -> float:
        """Seconds a row of ``pgai vectorizer worker --once``."""
        self._connection.execute(
            sql.SQL(CREATE_VECTORIZER).format(
                table=sql.Literal(_table(PGAI.name)),
                dimensions=sql.Literal(DIMENSIONS),
                base_url=sql.Literal(self._endpoint.base_url),
                batch=sql.Literal(batch),
                concurrency=sql.Literal(concurrency),
            )
        )
        self._connection.execute("CHECKPOINT")
        environment = {**os.environ, "OPENAI_API_KEY": "none", "DD_TRACE_ENABLED": "false"}
        PGAI.run("pgai", ["vectorizer", "worker", "--once", "-d", self._info], environment)
        seconds = self._judge(PGAI.name, sql.Identifier("peer_embedding_store"), "id")
        self._connection.execute("SELECT ai.drop_vectorizer('peer', drop_all => true)")
        return seconds

    def bare_copy(self) -> float:
        """Seconds a row of a COPY of what both sides store."""
        self._connection.execute("TRUNCATE copied")
        self._connection.execute("CHECKPOINT")
        started = time.perf_counter()
        with (
            self._connection.cursor() as cursor,
            cursor.copy("COPY copied FROM STDIN (FORMAT binary)") as copy,
        ):
            copy.write(self._rows)
        return (time.perf_counter() - started) / ROWS

    def _copied_rows(self) -> bytes:
        """Texts and vectors as the server's binary COPY has them."""
        self._connection.execute(
            sql.SQL(
                "CREATE TABLE copied (id bigint PRIMARY KEY, body text, embedding vector({}))"
            ).format(sql.Literal(DIMENSIONS))
        )
        with self._connection.cursor() as cursor:
            with cursor.copy("COPY copied FROM STDIN") as copy:
                for key, text in enumerate(texts(ROWS, CHARACTERS)):
                    copy.write_row((key, text, vectors()[vector_place(text)]))
            with cursor.copy("COPY copied TO STDOUT (FORMAT binary)") as copy:
                return b"".join(copy)

    def _judge(self, side: str, stored: sql.Identifier, key: str) -> float:
        """Seconds a row, of a run whose vectors are all there and right."""
        table = sql.Identifier(_table(side))
        found = self._connection.execute(
            sql.SQL("SELECT s.body, v.embedding FROM {} AS s JOIN {} AS v ON v.{} = s.id").format(
                table, stored, sql.Identifier(key)
            ),
            binary=True,
        ).fetchall()
        if len(found) != ROWS:
            raise RuntimeError(f"{side} stored {len(found)} vectors for {ROWS} rows")
        due = vectors()[[vector_place(body) for body, _ in found]]
        if not np.allclose(np.stack([one.to_numpy() for _, one in found]), due, atol=1e-6):
            raise RuntimeError(f"{side} stored other vectors than the endpoint gave")
        last = self._connection.execute(
            sql.SQL(
                "SELECT extract(epoch FROM max(pg_xact_commit_timestamp(xmin)))::float8 FROM {}"
            ).format(stored)
        ).fetchone()
        assert last is not None
        return (float(last[0]) - self._endpoint.first_texts_at()) / ROWS


def main() -> None:
    """Try every setting once, then both sides in turn at their best, and pgai as it comes."""
    figures: dict[str, Any] = {"rows": ROWS, "figures": "rows per second", **GOALS}
    with (
        temporary_server({"track_commit_timestamp": "on"}) as info,
        instant_endpoint() as endpoint,
        connect(info) as connection,
    ):
        stage = Stage(info, connection, endpoint)
        tried = {f"embedsql, {batch}": partial(stage.ours, batch) for batch in OUR_BATCHES}
        ours, figures["embedsql"] = best_of(tried)
        sides: dict[str, Callable[[], float]] = {"embedsql": ours}
        try:
            PGAI.run("pgai", ["install", "-d", info])
        except PeerAbsentError as error:
            figures[PGAI.name] = {"absent": str(error)}
        else:
            tried = {f"{PGAI.name}, {one}": partial(stage.pgai, *one) for one in PGAI_SETTINGS}
            sides["pgai"], figures["pgai"] = best_of(tried)
            sides["pgai, as it comes"] = partial(stage.pgai, *PGAI_DEFAULT)
        sides["bare COPY"] = stage.bare_copy
        seconds = interleaved(list(sides), lambda side: sides[side]())
    figures["best"] = {side: round(1 / min(each)) for side, each in seconds.items()}
    per_thousand = {side: [one * 1000 for one in each] for side, each in seconds.items()}
    for fast in ("embedsql", "bare COPY"):
        for side in ("pgai", "pgai, as it comes"):
            if side in sides:
                figures[f"{fast} / {side}"] = ratio(per_thousand[side], per_thousand[fast])
    write_report("pipeline", figures)


def best_of(
    tried: Mapping[str, Callable[[], float]],
) -> tuple[Callable[[], float], dict[str, int]]:
    """The setting that was fastest, and the rows a second of each."""
    seconds = {}
    for name, run in tried.items():
        seconds[name] = run()
        print(f"{name}: {1 / seconds[name]:.0f} rows per second", file=sys.stderr)
    best = min(seconds, key=seconds.__getitem__)
    return tried[best], {name: round(1 / each) for name, each in seconds.items()}


def _table(side: str) -> str:
    return f"{side.split()[0]}_article"


if __name__ == "__main__":
    main()
