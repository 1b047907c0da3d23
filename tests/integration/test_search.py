from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import psycopg
import pytest
from sqlalchemy import BigInteger, MetaData, Table, create_engine, func, select
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from embedsql import Hit, SearchTuning, SemanticIndex
from embedsql.calibration import calibrate
from embedsql.embedders.hashing import HashEmbedder
from embedsql.registry import find_index
from tests.factories import add_index, create_article_table, drain

WORDS = "amber birch cedar delta ember flint grove heath ivory jetty karst larch mango".split()


class Base(DeclarativeBase):
    type_annotation_map = {int: BigInteger}


class Article(Base):
    __tablename__ = "article"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int]
    title: Mapped[str | None]
    body: Mapped[str | None]


article_search = SemanticIndex("article_search", Article, text=("title", "body"), model="hash:64")


@pytest.fixture
def articles(connection: psycopg.Connection, database: str) -> list[str]:
    """400 articles of a few words, embedded and indexed; ids count from 1."""
    random = np.random.default_rng(7)
    bodies = [" ".join(random.choice(WORDS, 6)) + f" item{n}" for n in range(400)]
    create_article_table(connection)
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO article (tenant_id, body) VALUES (%s, %s)",
            [(n % 50, body) for n, body in enumerate(bodies)],
        )
    add_index(connection)
    drain(database)
    connection.execute("VACUUM ANALYZE article")
    return bodies


def found_ids(session: Session, text: str, **options: Any) -> list[int]:
    statement = article_search.search(text, **options)
    return [article.id for article, _ in session.execute(statement)]


def exact_order(bodies: Sequence[str], query: str) -> list[int]:
    embedder = HashEmbedder("hash:64")
    similarity = embedder.embed_documents(bodies) @ embedder.embed_queries([query])[0]
    return [int(n) + 1 for n in np.argsort(-similarity, kind="stable")]


def test_dense_search_gives_the_order_of_exact_cosine(
    articles: list[str], sqlalchemy_engine: Engine
) -> None:
    query = "amber cedar grove item17"
    with Session(sqlalchemy_engine) as session:
        rows = session.execute(article_search.search(query, mode="dense", limit=20)).all()

    similarities = [hit.similarity or 0.0 for _, hit in rows]
    assert similarities == sorted(similarities, reverse=True)
    assert [hit.dense_rank for _, hit in rows] == list(range(1, 21))
    embedder = HashEmbedder("hash:64")
    exact = np.sort(embedder.embed_documents(articles) @ embedder.embed_queries([query])[0])[::-1]
    assert np.allclose(similarities, exact[:20], atol=1e-5)
    assert rows[0][0].id == exact_order(articles, query)[0]
    assert {hit.strategy for _, hit in rows} == {"ann"}


@pytest.mark.exhaustive
def test_dense_search_of_many_rows_uses_the_vector_index(
    connection: psycopg.Connection, database: str, sqlalchemy_engine: Engine
) -> None:
    create_article_table(connection)
    connection.execute(
        "INSERT INTO article (body) SELECT md5(n::text) || ' ' || n FROM generate_series(1, 6000) n"
    )
    add_index(connection)
    drain(database, batch_size=2000)
    connection.execute("VACUUM ANALYZE")
    for limit in (5, 300):
        statement = article_search.search("amber", mode="dense", limit=limit)
        with Session(sqlalchemy_engine) as session:
            compiled = statement.compile(session.bind)
            explain = session.connection().exec_driver_sql(
                f"EXPLAIN ANALYZE {compiled}", dict(compiled.params)
            )
            plan = "\n".join(row[0] for row in explain)
            assert "Index Scan using article_search_chunk_1_ann" in plan, plan
            # the exact branch stays shut: the index gave enough rows
            assert "(never executed)" in plan, plan
            assert len(session.execute(statement).all()) == limit


def test_filter_that_keeps_few_rows_still_gives_all_of_them(
    articles: list[str], sqlalchemy_engine: Engine
) -> None:
    with Session(sqlalchemy_engine) as session:
        for mode in ("dense", "hybrid"):
            statement = article_search.search(
                "amber", mode=mode, limit=10, where=[Article.tenant_id == 7]
            )
            rows = session.execute(statement).all()
            assert len(rows) == 8
            assert {article.tenant_id for article, _ in rows} == {7}
            assert {hit.strategy for _, hit in rows} == {"exact"}


def test_limit_counts_rows_not_chunks(
    connection: psycopg.Connection, database: str, sqlalchemy_engine: Engine
) -> None:
    create_article_table(connection)
    long = "\n\n".join(f"amber {word} " * 40 for word in WORDS * 30)
    connection.execute("INSERT INTO article (body) VALUES (%s)", [long])
    connection.execute(
        "INSERT INTO article (body) SELECT 'birch ' || n FROM generate_series(1, 20) n"
    )
    add_index(connection)
    drain(database)
    chunks = connection.execute("SELECT count(*) FROM article_search WHERE id = 1").fetchone()
    assert chunks is not None
    assert chunks[0] > 100

    with Session(sqlalchemy_engine) as session:
        tuning = SearchTuning(candidates=10)
        ids = found_ids(session, "amber", mode="dense", limit=10, tuning=tuning)
    assert ids[0] == 1
    assert len(ids) == len(set(ids)) == 10


def test_rows_deleted_since_are_never_shown(
    articles: list[str], sqlalchemy_engine: Engine, connection: psycopg.Connection
) -> None:
    with Session(sqlalchemy_engine) as session:
        best = found_ids(session, "item17", limit=1)[0]
        connection.execute("DELETE FROM article WHERE id = %s", [best])
        assert best not in found_ids(session, "item17", limit=10)


def test_lexical_search_needs_only_one_of_the_words(
    articles: list[str], sqlalchemy_engine: Engine
) -> None:
    with Session(sqlalchemy_engine) as session:
        assert found_ids(session, "please find item123 for me", mode="lexical") == [124]
        assert found_ids(session, "the of and", mode="lexical") == []


def lanes_of(session: Session, query: str) -> dict[str, dict[int, Hit]]:
    found = {}
    for mode in ("dense", "lexical"):
        rows = session.execute(article_search.search(query, mode=mode, limit=100))
        found[mode] = {article.id: hit for article, hit in rows}
    return found


def test_reciprocal_rank_fusion_adds_the_ranks_of_the_lanes(
    articles: list[str], sqlalchemy_engine: Engine
) -> None:
    query = "amber cedar item40"
    tuning = SearchTuning(fusion="rrf", lexical_weight=2.0, rrf_k=10)
    with Session(sqlalchemy_engine) as session:
        lanes = lanes_of(session, query)
        rows = session.execute(article_search.search(query, limit=15, tuning=tuning)).all()
    for article, hit in rows:
        dense, lexical = lanes["dense"].get(article.id), lanes["lexical"].get(article.id)
        assert hit.dense_rank == (dense.dense_rank if dense else None)
        assert hit.lexical_rank == (lexical.lexical_rank if lexical else None)
        expected = (1 / (10 + hit.dense_rank) if hit.dense_rank else 0) + (
            2 / (10 + hit.lexical_rank) if hit.lexical_rank else 0
        )
        assert hit.score == pytest.approx(expected)
    scores = [(-hit.score, article.id) for article, hit in rows]
    assert scores == sorted(scores)


def test_calibrated_fusion_depends_on_the_row_alone(
    articles: list[str], sqlalchemy_engine: Engine, connection: psycopg.Connection
) -> None:
    row = connection.execute(
        "SELECT similarity_mean, similarity_deviation, agreement FROM embedsql.semantic_index"
    ).fetchone()
    assert row is not None
    mean, deviation, agreement = row
    assert -1 < mean < 1
    assert deviation > 0
    assert 0.5 < agreement <= 1
    weight = 4 * max(1, (0.6 / agreement) ** 12)
    query = "amber cedar item40"
    with Session(sqlalchemy_engine) as session:
        lanes = lanes_of(session, query)
        rows = session.execute(article_search.search(query, limit=50)).all()
        few = SearchTuning(candidates=10)
        fewer = session.execute(article_search.search(query, limit=10, tuning=few)).all()
    for article, hit in rows:
        assert hit.similarity is not None
        assert hit.bm25 is not None
        apart = (hit.similarity - mean) / deviation
        dense = apart + max(apart - 2, 0) ** 2 / 4
        assert hit.score == pytest.approx(dense + weight * hit.bm25 / (hit.bm25 + 40))
        if article.id in lanes["dense"]:
            assert hit.similarity == pytest.approx(lanes["dense"][article.id].similarity)
        # what only one lane found has its score of the other all the same
        matching = set(query.split()) & set(articles[article.id - 1].split())
        assert (hit.bm25 > 0) == bool(matching)
        if article.id in lanes["lexical"]:
            assert hit.bm25 == pytest.approx(lanes["lexical"][article.id].bm25)
    known = {article.id: hit.score for article, hit in rows}
    for article, hit in fewer:
        if article.id in known:
            assert hit.score == pytest.approx(known[article.id])
    scores = [(-hit.score, article.id) for article, hit in rows]
    assert scores == sorted(scores)


def test_vectors_that_know_nothing_of_the_words_are_outvoted(
    articles: list[str], sqlalchemy_engine: Engine, connection: psycopg.Connection
) -> None:
    index = find_index(connection, "article_search")
    known = calibrate(connection, index).agreement
    connection.execute(  # each vector is another row's
        "UPDATE embedsql.article_search_chunk_1 AS c SET embedding = o.embedding "
        "FROM embedsql.article_search_chunk_1 AS o WHERE o.key_1 = c.key_1 % 400 + 1"
    )
    unknowing = calibrate(connection, index).agreement

    assert known is not None
    assert unknowing is not None
    assert unknowing < 0.6 < known
    with Session(sqlalchemy_engine) as session:
        even = SearchTuning(lexical_weight=4)  # what is asked for is taken
        unasked, evenly = (
            np.mean([hit.bm25 for _, hit in session.execute(statement)])
            for statement in (
                article_search.search("amber cedar grove"),
                article_search.search("amber cedar grove", tuning=even),
            )
        )
        assert evenly < 0.9 * unasked


def test_statement_runs_in_an_async_session(articles: list[str], database: str) -> None:
    async def search() -> list[int]:
        async_engine = create_async_engine(
            "postgresql+psycopg://", async_creator=lambda: psycopg.AsyncConnection.connect(database)
        )
        async with AsyncSession(async_engine) as session:
            rows = await session.execute(article_search.search("item17", limit=3))
            ids = [article.id for article, _ in rows]
        await async_engine.dispose()
        return ids

    assert asyncio.run(search())[0] == 18


def test_statement_composes_with_the_callers_own(
    articles: list[str], sqlalchemy_engine: Engine
) -> None:
    found = article_search.search("amber", limit=20).subquery()
    with Session(sqlalchemy_engine) as session:
        total = session.scalar(select(func.count()).select_from(found))
    assert total == 20


def test_table_without_a_mapped_class_is_searched(
    articles: list[str], sqlalchemy_engine: Engine
) -> None:
    table = Table("article", MetaData(), autoload_with=sqlalchemy_engine)
    index = SemanticIndex("article_search", table, text=("title", "body"), model="hash:64")
    with Session(sqlalchemy_engine) as session:
        id_, tenant_id, _, body, hit = session.execute(index.search("item17", limit=1)).one()
    assert (id_, tenant_id, body) == (18, 17, articles[17])
    assert hit.snippet == articles[17]


def test_query_of_another_space_is_refused(articles: list[str], sqlalchemy_engine: Engine) -> None:
    prompted = SemanticIndex(
        "article_search", Article, text=("title", "body"), model="hash:64", query_prompt="query: "
    )
    with Session(sqlalchemy_engine) as session, pytest.raises(DBAPIError) as caught:
        session.execute(prompted.search("amber"))
    assert "another space" in str(caught.value)
    assert '"query_prompt": "query: "' in str(caught.value)


def test_row_level_security_holds_in_every_lane(
    articles: list[str], connection: psycopg.Connection, database: str
) -> None:
    connection.execute("DROP ROLE IF EXISTS embedsql_test_tenant")
    for step in (
        "CREATE ROLE embedsql_test_tenant LOGIN",
        "ALTER TABLE article ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY own ON article USING (tenant_id = current_setting('app.tenant')::int)",
        "GRANT SELECT ON article, article_search TO embedsql_test_tenant",
        "GRANT USAGE ON SCHEMA embedsql TO embedsql_test_tenant",
        "GRANT SELECT ON ALL TABLES IN SCHEMA embedsql TO embedsql_test_tenant",
    ):
        connection.execute(step)
    tenant_engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(database, user="embedsql_test_tenant"),
    )
    try:
        with Session(tenant_engine) as session:
            session.execute(select(func.set_config("app.tenant", "3", True)))
            for mode in ("dense", "lexical", "hybrid"):
                statement = article_search.search("amber birch cedar", mode=mode, limit=50)
                tenants = {article.tenant_id for article, _ in session.execute(statement)}
                assert tenants == {3}
            rows = session.connection().exec_driver_sql("SELECT count(*) FROM article_search")
            assert rows.scalar() == 8
    finally:
        tenant_engine.dispose()
        connection.execute("DROP OWNED BY embedsql_test_tenant")
        connection.execute("DROP ROLE embedsql_test_tenant")
