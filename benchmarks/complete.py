"""Searches that give exactly min(k, matches) rows: random filters, plans, dead tuples.

Against the same index asked by plain pgvector: ORDER BY distance LIMIT k with the filter in WHERE.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass

import psycopg
from sqlalchemy import BigInteger, Column, Integer, MetaData, Table
from sqlalchemy.orm import Session

from benchmarks.report import write_report
from benchmarks.stage import temporary_server
from embedsql import SemanticIndex
from embedsql.catalog import describe_source
from embedsql.database import connect, engine
from embedsql.declare import create_index
from embedsql.search.query import vector_text
from embedsql.spec import IndexSpec
from embedsql.worker import Worker, WorkerOptions

ROWS = 20_000
WORDS = [f"word{number}" for number in range(500)]
ARTICLE = Table(
    "article", MetaData(), Column("id", BigInteger, primary_key=True), Column("bucket", Integer)
)
SEARCH = SemanticIndex("article_search", ARTICLE, text="body", model="hash:64", lexical=None)
_PLAIN = """SELECT id FROM article_search WHERE id IN (
    SELECT id FROM article WHERE bucket >= %s AND bucket < %s)
ORDER BY embedding <=> %s::vector LIMIT %s"""


@dataclass
class Tally:
    """How many searches gave all that they should."""

    asked: int = 0
    ours: int = 0
    plain: int = 0


def main() -> None:
    """All of it: a fifth of the filters at each share of dead tuples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--filters", type=int, default=10_000)
    filters = parser.parse_args().filters
    draw = random.Random(3)
    tallies: dict[str, Tally] = {}
    with temporary_server() as info, connect(info) as connection:
        fill(connection, info, draw)
        for dead in (0, 10, 25, 40, 50):
            kill(connection, info, dead)
            for plan in ("force_custom_plan", "force_generic_plan"):
                tally = tallies.setdefault(f"{dead} % dead, {plan}", Tally())
                ask(info, plan, draw, filters // 10, tally)
    total = sum(one.asked for one in tallies.values())
    write_report(
        "complete",
        {
            "searches": total,
            "complete": sum(one.ours for one in tallies.values()) / total,
            "plain_pgvector": sum(one.plain for one in tallies.values()) / total,
            "by_case": {name: vars(one) for name, one in tallies.items()},
        },
    )


def fill(connection: psycopg.Connection, info: str, draw: random.Random) -> None:
    """Random articles, embedded; vacuum is ours to call."""
    connection.execute(
        "CREATE TABLE article (id bigint PRIMARY KEY, bucket int, body text) "
        "WITH (autovacuum_enabled = false)"
    )
    with connection.cursor().copy("COPY article FROM STDIN") as copy:
        for number in range(ROWS):
            copy.write_row((number, draw.randrange(10_000), " ".join(draw.choices(WORDS, k=20))))
    connection.execute("CREATE INDEX ON article (bucket)")
    source = describe_source(connection, "article")
    spec = IndexSpec(
        name="article_search",
        table="article",
        key=source.key,
        text=("body",),
        model="hash:64",
        dimensions=64,
        lexical=None,
    )
    create_index(connection, spec, source)
    connection.execute(
        f"ALTER TABLE embedsql.{spec.names.chunk} SET (autovacuum_enabled = false)".encode()
    )
    Worker(info, WorkerOptions(drain=True)).run()
    connection.execute("ANALYZE")


def kill(connection: psycopg.Connection, info: str, percent: int) -> None:
    """Let so many of a hundred rows be dead, in source and index."""
    connection.execute("DELETE FROM article WHERE id %% 100 < %s", [percent])
    Worker(info, WorkerOptions(drain=True)).run()


def ask(info: str, plan: str, draw: random.Random, searches: int, tally: Tally) -> None:
    """Searches with filters that keep from all rows to none."""
    database = engine(info)
    with connect(info) as connection, Session(database) as session:
        connection.execute(f"SET plan_cache_mode = {plan}".encode())
        session.connection().exec_driver_sql(f"SET plan_cache_mode = {plan}")
        session.commit()
        for _ in range(searches):
            width = int(10 ** draw.uniform(0, 4))
            low = draw.randrange(0, 10_001 - width)
            limit = draw.choice([1, 5, 10, 10, 10, 40, 100])
            text = " ".join(draw.choices(WORDS, k=4))
            vector = SEARCH.query_vector(text)
            where = [ARTICLE.c.bucket >= low, ARTICLE.c.bucket < low + width]
            statement = SEARCH.search(vector=vector, mode="dense", limit=limit, where=where)
            found = len(session.execute(statement).all())
            session.rollback()
            bounds = [low, low + width]
            plain = connection.execute(
                _PLAIN, [*bounds, vector_text(vector), limit], prepare=True
            ).fetchall()
            count = "SELECT count(*) FROM article WHERE bucket >= %s AND bucket < %s"
            row = connection.execute(count, bounds).fetchone()
            assert row is not None
            due = min(limit, row[0])
            tally.asked += 1
            tally.ours += found == due
            tally.plain += len(plain) == due
    database.dispose()


if __name__ == "__main__":
    main()
