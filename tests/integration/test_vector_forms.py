"""Every way to store and index vectors: written, indexed, searched, and worked after changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql
from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    MetaData,
    NullPool,
    Select,
    Table,
    Text,
    create_engine,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from embedsql import DeclarationError, Hit, SearchTuning
from embedsql.database import connect
from embedsql.declare import drop_index
from embedsql.embedders.hashing import HashEmbedder
from embedsql.registry import RegisteredIndex, find_index
from embedsql.search import Query, search_statement
from embedsql.search.target import Target
from embedsql.spec import IndexSpec
from embedsql.tables import source_of
from embedsql.vector_index import BuildState, ensure_vector_indexes, rebuild_vector_indexes
from embedsql.worker import Worker, WorkerOptions
from tests.everyday import cases
from tests.factories import add_index, create_article_table, drain, verify_all

ROWS = 1500
FORMS: dict[str, dict[str, Any]] = {
    "full": {},
    "halfvec": {"quantization": "halfvec"},
    "halfvec over full": {"quantization": "halfvec", "stored": "vector"},
    "bit": {"quantization": "bit"},
    "bit over halfvec": {"quantization": "bit", "stored": "halfvec"},
    "int8": {"quantization": "int8"},
    "leading": {"quantization": "halfvec", "index_dimensions": 128},
    "leading bit": {"quantization": "bit", "index_dimensions": 192},
    "leading int8": {"quantization": "int8", "index_dimensions": 192},
    "l2": {"metric": "l2"},
    "inner product": {"metric": "inner_product"},
    "l2 int8": {"metric": "l2", "quantization": "int8"},
    "ivfflat": {"index": "ivfflat"},
    "ivfflat bit": {"index": "ivfflat", "quantization": "bit"},
    "column": {"storage": "column", "chunking": None},
    "column halfvec": {"storage": "column", "chunking": None, "quantization": "halfvec"},
    "column bit": {"storage": "column", "chunking": None, "quantization": "bit"},
}
WORDS = [f"word{number}" for number in range(400)]


EVERYDAY = ("bit", "leading int8", "column")


@pytest.fixture(
    scope="module",
    params=cases(FORMS, *EVERYDAY),
    ids=[name.replace(" ", "-") for name in FORMS],
)
def filled(
    request: pytest.FixtureRequest, module_database: str
) -> Iterator[tuple[psycopg.Connection, RegisteredIndex]]:
    """A database of random articles with an index of one form, drained."""
    with psycopg.connect(module_database, autocommit=True) as connection:
        create_article_table(connection)
        random = np.random.default_rng(7)
        bodies = [" ".join(random.choice(WORDS, 80)) for _ in range(ROWS)]
        with connection.cursor().copy("COPY article (body) FROM STDIN") as copy:
            for body in bodies:
                copy.write_row([body])
        options = {"model": "hash:256", "dimensions": 256, "lexical": None, **FORMS[request.param]}
        add_index(connection, text=("body",), **options)
        drain(module_database)
        connection.execute("ANALYZE")
        index = find_index(connection, "article_search")
        yield connection, index
        drop_index(connection, "article_search")
        connection.execute("DROP TABLE article")


@cache
def target_of(spec: IndexSpec) -> Target:
    table = Table(
        "article", MetaData(), Column("id", BigInteger, primary_key=True), Column("body", Text)
    )
    return Target(spec.name, source_of(table), spec.vectors, None)


def search(index: RegisteredIndex, text: str, **options: Any) -> Select[Any, Hit]:
    vector = HashEmbedder(index.spec.model).embed_queries([text])[0]
    return search_statement(
        target_of(index.spec), Query(text=text, vector=vector, mode="dense", **options)
    )


@cache
def engine_of(dsn: str) -> Engine:
    """One for all searches of a database, so that a statement is compiled once."""
    return create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=NullPool
    )


def found(
    connection: psycopg.Connection, index: RegisteredIndex, text: str, **options: Any
) -> list[tuple[int, Hit]]:
    with Session(engine_of(connection.info.dsn)) as session:
        return [(row[0], row[-1]) for row in session.execute(search(index, text, **options))]


def nearest(connection: psycopg.Connection, texts: Sequence[str]) -> list[set[int]]:
    """The ten articles nearest to each text, by the embedder itself."""
    rows = connection.execute(
        "SELECT id, body FROM article WHERE body <> '' ORDER BY id"
    ).fetchall()
    embedder = HashEmbedder("hash:256")
    vectors = embedder.embed_documents([body for _, body in rows])
    cosines = embedder.embed_queries(texts) @ vectors.T
    return [{rows[place][0] for place in np.argsort(-row)[:10]} for row in cosines]


def test_a_search_finds_what_an_exact_one_finds(
    filled: tuple[psycopg.Connection, RegisteredIndex],
) -> None:
    connection, index = filled
    agreed = []
    texts = [" ".join(WORDS[number * 7 : number * 7 + 40]) for number in range(10)]
    for text, best in zip(texts, nearest(connection, texts), strict=True):
        hits = found(connection, index, text, tuning=SearchTuning(oversample=4, probes=32))
        assert len(hits) == 10
        assert hits == sorted(hits, key=lambda hit: (-hit[1].score, hit[0]))
        assert {hit.strategy for _, hit in hits} == {"ann"}
        agreed.append(len({key for key, _ in hits} & best) / 10)
    # a hash spreads words evenly: it is no Matryoshka model, nor do its signs say all
    rough = index.spec.index_dimensions is not None or index.spec.vectors.indexed_as == "bit"
    assert np.mean(agreed) >= (0.4 if rough else 0.9)


def test_the_approximate_index_serves_the_statement(
    filled: tuple[psycopg.Connection, RegisteredIndex],
) -> None:
    connection, index = filled
    statement = search(index, "word1 word2 word3")
    compiled = statement.compile(dialect=postgresql.dialect(paramstyle="pyformat"))  # type: ignore[no-untyped-call]
    connection.execute("SET plan_cache_mode = force_custom_plan")
    plan = "\n".join(
        row[0] for row in connection.execute(f"EXPLAIN {compiled}".encode(), compiled.params)
    )
    assert f"Index Scan using {index.names.vector_index}" in plan


def test_the_search_is_never_short(
    filled: tuple[psycopg.Connection, RegisteredIndex],
) -> None:
    connection, index = filled
    for limit in (1, 40, 250, 1000):
        assert len(found(connection, index, "word5 word9", limit=limit)) == limit


def test_changes_are_followed(filled: tuple[psycopg.Connection, RegisteredIndex]) -> None:
    connection, index = filled
    conninfo = connection.info.dsn
    other, new = (" ".join(f"{stem}{n}" for n in range(60)) for stem in ("other", "new"))
    connection.execute("UPDATE article SET body = %s WHERE id = 17", [other])
    connection.execute("UPDATE article SET body = '' WHERE id = 18")
    connection.execute("DELETE FROM article WHERE id = 19")
    connection.execute("INSERT INTO article (id, body) VALUES (1000001, %s)", [new])
    drain(conninfo)
    assert verify_all(conninfo).ok
    assert found(connection, index, other, limit=1)[0][0] == 17
    assert found(connection, index, new, limit=1)[0][0] == 1000001
    everything = {key for key, _ in found(connection, index, "word1", limit=1000)}
    assert not {18, 19} & everything
    view = connection.execute("SELECT id, vector_dims(embedding) FROM article_search WHERE id = 17")
    assert view.fetchall() == [(17, 256)]


def test_a_rebuild_replaces_the_index(
    filled: tuple[psycopg.Connection, RegisteredIndex],
) -> None:
    connection, index = filled
    before = oid(connection, index)
    rebuild_vector_indexes(connection, index)
    after = oid(connection, index)
    assert before != after
    assert ensure_vector_indexes(connection, index) is BuildState.THERE
    valid = connection.execute(
        "SELECT bool_and(indisvalid), count(*) FROM pg_index "
        "JOIN pg_class AS c ON c.oid = indexrelid WHERE relname LIKE %s",
        [index.names.vector_index + "%"],
    ).fetchone()
    assert valid == (True, 1)


def oid(connection: psycopg.Connection, index: RegisteredIndex) -> int:
    row = connection.execute(
        "SELECT oid FROM pg_class WHERE relname = %s", [index.names.vector_index]
    ).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("column", ["own", "embedding"])
def test_a_drop_leaves_the_table_as_it_was(connection: psycopg.Connection, column: str) -> None:
    create_article_table(connection)
    connection.execute("ALTER TABLE article ADD COLUMN own vector(64)")
    before = columns(connection)
    add_index(connection, storage="column", vector_column=column, chunking=None)
    assert {*before, column} == set(columns(connection))
    drop_index(connection, "article_search")
    assert columns(connection) == before


def test_a_column_of_another_type_is_refused(connection: psycopg.Connection) -> None:
    create_article_table(connection)
    with pytest.raises(DeclarationError, match="holds text, not vector"):
        add_index(
            connection, text=("body",), storage="column", vector_column="title", chunking=None
        )


def test_a_row_that_a_transaction_holds_is_written_later(database: str) -> None:
    with connect(database) as connection, connect(database) as other:
        create_article_table(connection)
        add_index(connection, storage="column", chunking=None)
        connection.execute("INSERT INTO article (body) VALUES ('one'), ('two')")
        with other.transaction():
            other.execute("UPDATE article SET tenant_id = 2 WHERE id = 1")
            worker = Worker(database, WorkerOptions(drain=True))
            drained = threading.Thread(target=worker.run)
            drained.start()
            wait_until(connection, "SELECT embedding IS NOT NULL FROM article WHERE id = 2")
            held = "SELECT embedding IS NULL AND tenant_id = 1 FROM article WHERE id = 1"
            assert connection.execute(held).fetchone() == (True,)
        drained.join(60)
        both = connection.execute("SELECT count(embedding), max(tenant_id) FROM article")
        assert both.fetchone() == (2, 2)
        failures = connection.execute("SELECT count(*) FROM embedsql.failure").fetchone()
        assert failures == (0,)


def wait_until(connection: psycopg.Connection, question: str) -> None:
    for _ in range(600):
        if connection.execute(question.encode()).fetchone() == (True,):
            return
        time.sleep(0.05)
    raise AssertionError(f"never true: {question}")


def columns(connection: psycopg.Connection) -> list[str]:
    rows = connection.execute(
        sql.SQL(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = 'article'::regclass "
            "AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        )
    )
    return [name for (name,) in rows]
