"""A learned sparse encoder in the lexical lane, in place of BM25: written, searched, from SQL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL, BigInteger, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from embedsql import (
    DeclarationError,
    SearchTuning,
    SemanticIndex,
    TextRejectedError,
    UnknownModelError,
    registry,
    search_across,
)
from embedsql.database import connect, engine
from embedsql.embedders import EmbedderOptions, load_embedder
from embedsql.embedders.sparse import SparseTerms, WithTerms
from embedsql.errors import QueryError
from embedsql.ingest import Ingest
from embedsql.mailbox import embed_query, embed_terms, embed_terms_async
from embedsql.search import Hit, Mode, Query, search_statement
from tests.acceptance.conftest import Embedsql
from tests.answering import answering_worker
from tests.everyday import cases
from tests.factories import (
    HandWorker,
    RecordingEmbedder,
    add_index,
    create_article_table,
    drain,
    verify_all,
)
from tests.sparse_encoders import SPLADE, make_sparse_encoder, needs_splade

WORDS = "amber birch cedar flint grove quartz river stone tide willow".split()
CHUNK = "embedsql.article_search_chunk_1"
ROWS = 400


class Base(DeclarativeBase):
    type_annotation_map = {int: BigInteger}


class Article(Base):
    __tablename__ = "article"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int]
    body: Mapped[str | None]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_sparse_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def terms(model: str) -> SparseTerms:
    return SparseTerms(model)


def declared(model: str | None, **options: Any) -> SemanticIndex:
    return SemanticIndex(
        "article_search", Article, text="body", model="hash:64", sparse_model=model, **options
    )


def bodies() -> list[str]:
    chance = np.random.default_rng(3)
    return [" ".join(chance.choice(WORDS, chance.integers(2, 9))) for _ in range(ROWS)]


@pytest.fixture(scope="module", params=["gin", "hnsw"])
def filled(
    request: pytest.FixtureRequest, module_database: str, model: str
) -> Iterator[SemanticIndex]:
    """An index on texts of a few words, with and without an approximate index on the terms."""
    with connect(module_database) as connection:
        connection.execute("DROP TABLE IF EXISTS article CASCADE")
        create_article_table(connection)
        with connection.cursor().copy("COPY article (id, tenant_id, body) FROM STDIN") as copy:
            for number, body in enumerate(bodies()):
                copy.write_row((number, number % 50, body))
        add_index(connection, text=("body",), sparse_model=model, lexical_index=request.param)
        drain(module_database)
        connection.execute("VACUUM ANALYZE")
        yield declared(model, lexical_index=request.param)
        Embedsql(module_database).run("drop", "article_search")


@pytest.fixture
def alchemy(filled: SemanticIndex, module_database: str) -> Iterator[Engine]:
    made = engine(module_database)
    yield made
    made.dispose()


def found(
    alchemy: Engine, index: SemanticIndex, text: str, **options: Any
) -> list[tuple[int, Hit]]:
    with Session(alchemy) as session:
        options = {"mode": "lexical"} | options
        return [(row.id, hit) for row, hit in session.execute(index.search(text, **options))]


def weights(sparse: str) -> dict[int, float]:
    pairs = sparse[1 : sparse.index("}")].split(",")
    return {int(place): float(weight) for place, _, weight in (one.partition(":") for one in pairs)}


@pytest.mark.exhaustive
def test_rows_rank_by_the_inner_product_of_what_the_encoder_gave(
    filled: SemanticIndex, alchemy: Engine, terms: SparseTerms
) -> None:
    documents = [weights(one) for one in terms.of_documents(bodies())]
    for question in ("amber quartz", "river", "stone tide willow amber birch"):
        asked = weights(terms.of_queries([question])[0])
        scores = [sum(asked[t] * of.get(t, 0.0) for t in asked) for of in documents]
        due = sorted(((-score, place) for place, score in enumerate(scores) if score))[:10]
        here = found(alchemy, filled, question)
        assert [hit.score for _, hit in here] == pytest.approx([-s for s, _ in due], rel=1e-5)
        assert [hit.bm25 for _, hit in here] == [hit.score for _, hit in here]
        for id_, hit in here:
            assert hit.score == pytest.approx(scores[id_], rel=1e-5)
    assert found(alchemy, filled, "zebra") == []


@pytest.mark.exhaustive
def test_both_lanes_and_every_shape_take_it(filled: SemanticIndex, alchemy: Engine) -> None:
    hits = found(alchemy, filled, "amber quartz", mode="hybrid", limit=5)
    assert len(hits) == 5
    assert all(hit.bm25 is not None and hit.similarity is not None for _, hit in hits)
    mine = [Article.tenant_id == 7]
    everything = found(alchemy, filled, " ".join(WORDS), where=mine, limit=20)
    assert {id_ for id_, _ in everything} == set(range(7, ROWS, 50))
    for id_, _ in found(alchemy, filled, "river +quartz -amber", limit=50):
        words = bodies()[id_].split()
        assert "quartz" in words
        assert "amber" not in words
    assert found(alchemy, filled, "amber", tuning=SearchTuning(lexical_ef_search=0))
    facets = filled.facets(Article.tenant_id, "amber", mode="lexical")
    with Session(alchemy) as session:
        assert session.execute(facets).all()


def test_the_index_on_the_terms_is_asked(filled: SemanticIndex, alchemy: Engine) -> None:
    if filled.lexical_index == "gin":
        return
    statement = filled.search("amber quartz", mode="lexical", limit=3)
    with Session(alchemy) as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))
        compiled = statement.compile(session.bind)
        rows = session.connection().exec_driver_sql(
            f"EXPLAIN ANALYZE {compiled}", dict(compiled.params)
        )
        plan = [row[0] for row in rows if "chunk_1_terms" in row[0]]
    assert len(plan) == 1
    assert "never executed" not in plan[0]


def test_sql_and_web_processes_get_the_terms_from_a_worker(
    filled: SemanticIndex, alchemy: Engine, module_database: str, model: str
) -> None:
    ask = "SELECT id, score FROM article_search(%s, 10, %s, wait_ms => 20000)"
    with answering_worker(module_database), connect(module_database) as connection:
        for mode in ("lexical", "hybrid"):
            here = found(alchemy, filled, "amber quartz river", mode=mode)
            rows = connection.execute(ask, ["amber quartz river", mode]).fetchall()
            assert [id_ for id_, _ in rows] == [id_ for id_, _ in here]
            assert [s for _, s in rows] == pytest.approx([hit.score for _, hit in here], rel=1e-5)
        vector = embed_query(alchemy, "article_search", "tide stone", timeout=20)
        given = embed_terms(alchemy, "article_search", "tide stone")
        own = filled.query_terms("tide stone")
        assert weights(own or "") == pytest.approx(weights(given or ""))
        web = declared(model, dimensions=64, lexical_index=filled.lexical_index)
        there = found(alchemy, web, "tide stone", vector=vector, terms=given, mode="hybrid")
        assert "embedder" not in vars(web)  # no model was loaded
        here = found(alchemy, filled, "tide stone", mode="hybrid")
        assert [id_ for id_, _ in there] == [id_ for id_, _ in here]
        place = conninfo_to_dict(module_database)
        url = URL.create(
            "postgresql+psycopg",
            username=str(place["user"]),
            database=str(place["dbname"]),
            query={"host": str(place["host"])},
        )
        asynchronous = create_async_engine(url)

        async def asked() -> str | None:
            async with AsyncSession(asynchronous) as session:
                known = await embed_terms_async(session, "article_search", "tide stone")
            await asynchronous.dispose()
            return known

        assert asyncio.run(asked()) == given
    with connect(module_database) as connection:
        connection.execute("DELETE FROM embedsql.query_vector")
        notices: list[str] = []
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        with pytest.raises(psycopg.Error, match="needs the query's terms: nobody asked"):
            connection.execute("SELECT * FROM article_search('amber', 5, 'lexical', wait_ms => 0)")
        with pytest.raises(psycopg.Error, match="a hybrid search needs the query's vector"):
            connection.execute("SELECT * FROM article_search('amber', 5, wait_ms => 0)")
        statement = "SELECT * FROM article_search('amber', 5, 'hybrid', %s::vector, 0)"
        assert len(connection.execute(statement, [str(vector)]).fetchall()) == 5
        assert "searched by meaning only" in notices[-1]
        told = connection.execute(statement.replace("*", "bool_or(complete)"), [str(vector)])
        assert told.fetchone() == (False,)


@pytest.mark.parametrize("mode", cases(["lexical", "hybrid", "dense", None], "lexical", None))
def test_several_indexes_are_searched_with_the_terms_that_are_encoded_here(
    filled: SemanticIndex, alchemy: Engine, mode: Mode | None
) -> None:
    question = f"willow grove flint {mode}"  # which no worker has answered
    with Session(alchemy) as session:
        across = session.execute(search_across([filled], question, mode=mode)).all()
    here = found(alchemy, filled, question, mode=mode or "hybrid")
    assert len(here) == 10
    assert sorted((row.key, row.bm25) for row in across) == [
        (id_, pytest.approx(bm25)) for id_, bm25 in sorted((id_, hit.bm25) for id_, hit in here)
    ]
    assert [row.score for row in across] == pytest.approx([hit.score for _, hit in here])


def test_a_row_is_explained(filled: SemanticIndex, alchemy: Engine) -> None:
    with Session(alchemy) as session:
        explained = filled.explain(session, "amber quartz", mode="lexical", key=0, limit=3)
        assert "sparse1" in explained.hits[0].says
        assert explained.row is not None
        assert explained.row.shown or explained.row.reasons
        hybrid = filled.explain(session, "amber quartz", key=1)
        assert hybrid.hits[0].lexical.share is not None


def test_terms_of_another_encoder_are_refused(
    filled: SemanticIndex, alchemy: Engine, tmp_path: Path
) -> None:
    other = declared(make_sparse_encoder(tmp_path, seed=2), lexical_index=filled.lexical_index)
    for mode in ("lexical", "hybrid"):
        with pytest.raises(DBAPIError, match="embedded in another space"):
            found(alchemy, other, "amber", mode=mode)


def test_what_was_encoded_serves_again(
    connection: psycopg.Connection, database: str, model: str, terms: SparseTerms
) -> None:
    create_article_table(connection)
    add_index(connection, text=("body",), sparse_model=model)
    connection.execute("INSERT INTO article (id, body) VALUES (1, 'amber birch'), (2, '!!!')")
    drain(database)
    connection.execute("INSERT INTO article (id, body) VALUES (3, 'amber birch'), (4, 'cedar')")
    report = drain(database)
    assert (report.embedded, report.reused) == (1, 1)
    stored = connection.execute(f"SELECT key_1, terms::text FROM {CHUNK}".encode()).fetchall()
    expected = dict(
        enumerate(terms.of_documents(["amber birch", "!!!", "amber birch", "cedar"]), 1)
    )
    assert {key: weights(one) for key, one in stored} == {
        key: pytest.approx(weights(one), rel=1e-5) for key, one in expected.items()
    }
    assert verify_all(database).ok


def test_rows_that_wait_are_found_when_they_are_encoded(
    connection: psycopg.Connection, database: str, model: str, sqlalchemy_engine: Engine
) -> None:
    create_article_table(connection)
    add_index(connection, text=("body",), sparse_model=model)
    drain(database)
    connection.execute("INSERT INTO article (id, body) VALUES (1, 'amber')")
    index = declared(model)
    assert found(sqlalchemy_engine, index, "amber") == []
    drain(database)
    assert [id_ for id_, _ in found(sqlalchemy_engine, index, "amber")] == [1]
    # who searches by the declaration of BM25 is told, in either lane
    for mode in ("lexical", "hybrid"):
        with pytest.raises(DBAPIError, match=r"weighed by a sparse encoder|in another space"):
            found(sqlalchemy_engine, declared(None), "amber", mode=mode)


def test_a_text_that_the_other_model_refuses_is_found_by_its_terms(
    connection: psycopg.Connection,
    database: str,
    model: str,
    terms: SparseTerms,
    sqlalchemy_engine: Engine,
) -> None:
    create_article_table(connection)
    connection.execute("INSERT INTO article (id, body) VALUES (1, 'amber poison'), (2, 'cedar')")
    made = add_index(connection, text=("body",), sparse_model=model)
    worker = HandWorker(database, made)
    dense = RecordingEmbedder("poison", TextRejectedError("the model refuses it"))
    worker.ingest = Ingest(made, WithTerms(dense, terms), worker.log)
    worker.work()
    worker.close()

    assert connection.execute("SELECT key FROM embedsql.dead_letter").fetchall() == [(1,)]
    index = declared(model)
    registry.adopt_space(connection, made.index_id, index.embedder.space.label)
    ((id_, hit),) = found(sqlalchemy_engine, index, "amber")
    assert (id_, hit.similarity, hit.lexical_rank) == (1, None, 1)
    assert [id_ for id_, _ in found(sqlalchemy_engine, index, "amber", mode="dense")] == [2]


@pytest.mark.exhaustive
def test_an_index_changes_from_bm25_to_an_encoder(
    connection: psycopg.Connection, database: str, model: str, sqlalchemy_engine: Engine
) -> None:
    create_article_table(connection)
    add_index(connection, text=("body",))
    connection.execute("INSERT INTO article (id, body) VALUES (1, 'amber birch'), (2, 'cedar')")
    drain(database)
    command = Embedsql(database)
    command.run("reembed", "article_search", "--sparse-model", model, "--lexical-index", "hnsw")
    index = declared(model, lexical_index="hnsw")
    assert [id_ for id_, _ in found(sqlalchemy_engine, index, "amber")] == [1]
    assert command.json("search", "article_search", "amber", "--mode", "lexical")["hits"]


@pytest.mark.exhaustive
def test_an_index_changes_from_an_encoder_to_bm25(
    connection: psycopg.Connection, database: str, model: str, sqlalchemy_engine: Engine
) -> None:
    create_article_table(connection)
    add_index(connection, text=("body",), sparse_model=model)
    connection.execute("INSERT INTO article (id, body) VALUES (1, 'amber birch'), (2, 'cedar')")
    drain(database)
    Embedsql(database).run("reembed", "article_search", "--sparse-model", "")
    assert [id_ for id_, _ in found(sqlalchemy_engine, declared(None), "amber")] == [1]
    connection.execute("INSERT INTO article (id, body) VALUES (3, 'amber')")  # found while it waits
    assert {id_ for id_, _ in found(sqlalchemy_engine, declared(None), "amber")} == {1, 3}


def test_what_is_no_sparse_encoder_is_refused(model: str) -> None:
    minilm = "sentence-transformers/all-MiniLM-L6-v2"
    with pytest.raises(UnknownModelError, match="not a sparse encoder: it makes dense vectors"):
        load_embedder("hash:64", EmbedderOptions(sparse_model=minilm))
    with pytest.raises(UnknownModelError, match="cannot be loaded"):
        SparseTerms("sentence-transformers/none/such")
    with pytest.raises(DeclarationError, match="unknown sparse encoder 'openai:x'"):
        declared("openai:x").spec_of(64)
    with pytest.raises(DeclarationError, match="sparse_model needs a lexical lane"):
        declared(model, lexical=None).spec_of(64)
    index = declared(model, dimensions=64)
    query = Query(text="amber", mode="lexical")
    with pytest.raises(QueryError, match="weighed by a sparse encoder"):
        search_statement(index._target, query)


@needs_splade
def test_splade_finds_what_says_it_in_other_words(
    connection: psycopg.Connection, database: str, sqlalchemy_engine: Engine
) -> None:
    create_article_table(connection)
    add_index(connection, text=("body",), sparse_model=SPLADE)
    connection.execute(
        "INSERT INTO article (id, body) VALUES (1, 'Stir the flour into the milk'), "
        "(2, 'Steps to recover a forgotten login credential'), (3, 'The museum opens at nine')"
    )
    drain(database)
    question = "How do I reset my password?"
    assert found(sqlalchemy_engine, declared(SPLADE), question)[0][0] == 2
