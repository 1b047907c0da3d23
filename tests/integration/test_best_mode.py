"""A search that names no mode takes the best that can be had; one that names it takes no less."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import BigInteger, func, select
from sqlalchemy.engine import URL, Engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from embedsql import EmbeddingError, ProviderError, QueryError, SemanticIndex, search_across
from embedsql.embedders.hashing import HashEmbedder
from embedsql.registered import RegisteredSearch
from tests.factories import add_index, create_article_table, drain
from tests.unit.embedding_server import Answer, Provider, items, serving


class Base(DeclarativeBase):
    type_annotation_map = {int: BigInteger}


class Article(Base):
    __tablename__ = "article"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]
    body: Mapped[str | None]


wordless = SemanticIndex(
    "article_search", Article, text=("title", "body"), model="hash:64", lexical=None
)


@pytest.fixture
def articles(connection: psycopg.Connection) -> None:
    create_article_table(connection)
    connection.execute("INSERT INTO article (body) VALUES ('amber'), ('birch'), ('cedar')")


@pytest.fixture
def without_words(articles: None, connection: psycopg.Connection, database: str) -> None:
    add_index(connection, lexical=None)
    drain(database)


@pytest.fixture
def session(sqlalchemy_engine: Engine) -> Iterator[Session]:
    with Session(sqlalchemy_engine) as opened:
        yield opened


def test_an_index_without_words_is_searched_by_meaning(
    without_words: None, session: Session
) -> None:
    found = session.execute(wordless.search("birch", limit=1)).all()
    assert [(article.id, hit.strategy) for article, hit in found] == [(2, "ann")]
    assert [article.id for article, _ in wordless.fetch(session, "birch", 1)] == [2]
    assert wordless.explain(session, "birch").mode == "dense"
    counted = session.execute(wordless.facets(Article.body, "birch")).all()
    assert sum(count for _, count in counted) == 3
    across = session.execute(search_across([wordless], "birch", limit=1)).all()
    assert [row.key for row in across] == [2]


def test_words_that_are_asked_for_by_name_must_be_there(without_words: None) -> None:
    for mode in ("hybrid", "lexical"):
        with pytest.raises(QueryError, match="without a lexical lane: search it with mode 'dense'"):
            wordless.search("birch", mode=mode)


def test_a_vector_without_words_is_searched_by_meaning(
    articles: None, connection: psycopg.Connection, database: str, session: Session
) -> None:
    add_index(connection)
    drain(database)
    worded = replace(wordless, lexical="english")
    vector = HashEmbedder("hash:64").embed_queries(["birch"])[0]

    found = session.execute(worded.search(vector=vector, limit=1)).all()

    assert [(article.id, hit.lexical_rank) for article, hit in found] == [(2, None)]


def test_the_registry_knows_what_an_index_has(without_words: None, database: str) -> None:
    with RegisteredSearch(database, "article_search") as search:
        found = search.search("birch", limit=1)
        assert search.best_mode == "dense"
        with pytest.raises(QueryError, match="without a lexical lane"):
            search.search("birch", mode="hybrid")
    assert (found.mode, found.complete, [key for key, _ in found.hits]) == ("dense", True, [2])


# While the provider does not answer


@pytest.fixture
def provider(
    articles: None,
    connection: psycopg.Connection,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Provider]:
    """What embedded the articles, and then is out of order, for longer than anybody waits."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    embedder = HashEmbedder("hash:64")
    with serving() as started:
        started.answer = lambda texts: items(embedder.embed_documents(texts).tolist())
        add_index(connection, model="openai:hash", base_url=started.url)
        drain(database)
        started.always(b"out of order", 503, Retry_After="60")
        yield started


def declared(provider: Provider) -> SemanticIndex:
    return SemanticIndex(
        "article_search",
        Article,
        text=("title", "body"),
        model="openai:hash",
        base_url=provider.url,
    )


def test_words_answer_while_the_provider_fails(
    provider: Provider, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    index = declared(provider)
    with caplog.at_level(logging.WARNING, "embedsql.search"):
        found = session.execute(index.search("birch")).all()
    assert [(article.id, hit.strategy) for article, hit in found] == [(2, None)]
    (said,) = caplog.records
    assert said.levelname == "WARNING"
    assert said.getMessage().startswith("article_search is searched for words only: the embedding")
    assert "503" in said.getMessage()

    assert [article.id for article, _ in index.fetch(session, "birch")] == [2]
    assert index.explain(session, "birch").mode == "lexical"
    assert session.execute(index.facets(Article.body, "birch")).all() == [("birch", 1)]
    assert [row.key for row in session.execute(search_across([index], "birch"))] == [2]
    composed = index.search("birch").subquery()
    assert session.execute(select(func.count()).select_from(composed)).scalar_one() == 1


def test_meaning_that_is_asked_for_by_name_must_be_there(
    provider: Provider, session: Session
) -> None:
    index = declared(provider)
    for mode in ("dense", "hybrid"):
        with pytest.raises(ProviderError):
            index.search("birch", mode=mode)
        with pytest.raises(ProviderError):
            search_across([index], "birch", mode=mode)
    with pytest.raises(EmbeddingError):
        replace(index, lexical=None).search("birch")


def test_who_can_do_with_words_does_not_wait_for_the_provider_again(
    provider: Provider, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedsql.provider_outage.PAUSE_SECONDS", 3600)
    index = declared(provider)
    index.search("birch")
    asked = len(provider.payloads)
    assert asked

    for text in ("birch", "cedar"):
        found = [article.body for article, _ in session.execute(index.search(text))]
        assert found == [text]
    assert len(provider.payloads) == asked
    with pytest.raises(ProviderError):  # who cannot asks all the same
        index.search("birch", mode="hybrid")
    assert len(provider.payloads) > asked


def test_meaning_is_back_when_the_provider_is(
    provider: Provider, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedsql.provider_outage.PAUSE_SECONDS", 0)
    index = declared(provider)
    index.search("birch")
    embedder = HashEmbedder("hash:64")
    provider.answer = lambda texts: items(embedder.embed_documents(texts).tolist())

    found = session.execute(index.search("birch")).all()

    assert [hit.strategy for _, hit in found] == ["exact"] * 3


def test_asyncio_is_answered_by_words_too(provider: Provider, database: str) -> None:
    index, info = declared(provider), conninfo_to_dict(database)
    url = URL.create(
        "postgresql+psycopg",
        username=str(info["user"]),
        database=str(info["dbname"]),
        query={"host": str(info["host"])},
    )

    async def run() -> list[int]:
        engine = create_async_engine(url)
        async with AsyncSession(engine) as opened:
            found = [article.id for article, _ in await index.afetch(opened, "birch")]
        await engine.dispose()
        return found

    assert asyncio.run(run()) == [2]


def test_the_registered_search_says_that_it_is_of_words_only(
    provider: Provider, database: str
) -> None:
    with RegisteredSearch(database, "article_search") as search:
        found = search.search("birch")
        assert (found.mode, found.strategy, found.complete) == ("hybrid", "lexical", False)
        assert found.words_only is not None
        assert "503" in found.words_only
        assert [key for key, _ in found.hits] == [2]
        assert search.explain("birch").mode == "lexical"
        for mode in ("dense", "hybrid"):
            with pytest.raises(ProviderError):
                search.search("birch", mode=mode)
        assert search.search("birch", mode="lexical").complete


def test_a_text_that_the_model_refuses_is_searched_by_its_words(
    provider: Provider, session: Session
) -> None:
    index = declared(provider)
    embedder = HashEmbedder("hash:64")
    provider.answer = lambda texts: items(embedder.embed_documents(texts).tolist())
    provider.to("birch", Answer({"error": "content policy"}, 400))

    assert [article.id for article, _ in session.execute(index.search("birch"))] == [2]
    # which is the text's fault, not the provider's: others are embedded
    assert len(session.execute(index.search("cedar")).all()) == 3
