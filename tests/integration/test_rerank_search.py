"""A search reranked by a cross-encoder that is trained here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import BigInteger
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from typer.testing import CliRunner

from embedsql import QueryError, SemanticIndex, UnknownModelError
from embedsql.cli import app
from embedsql.rerank import Reranker, cross_encoder
from tests.factories import add_index, create_article_table, drain
from tests.rerankers import serving_reranks, train_cross_encoder


class Base(DeclarativeBase):
    type_annotation_map = {int: BigInteger}


class Article(Base):
    __tablename__ = "article"

    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str | None]


article_search = SemanticIndex(
    "article_search", Article, text="body", model="hash:64", dimensions=64
)

# the vector that is given with the query points to the first article, away from the last
QUERY = "quartz"
VECTOR_OF = "amber birch"
BODIES = ["amber birch", "amber cedar", "birch cedar", "amber flint", "grove quartz"]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    import torch

    usual = torch.get_num_threads()
    torch.set_num_threads(1)  # texts and model are tiny
    yield train_cross_encoder(tmp_path_factory.mktemp("cross_encoder"))
    torch.set_num_threads(usual)


@pytest.fixture(scope="module")
def judge(model_folder: Path) -> Reranker:
    return cross_encoder(str(model_folder), threads=1)


@pytest.fixture
def articles(connection: psycopg.Connection, database: str) -> str:
    create_article_table(connection)
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO article (body) VALUES (%s)", [(body,) for body in BODIES])
    add_index(connection, text=("body",))
    drain(database)
    return database


@pytest.fixture
def misled() -> Sequence[float]:
    """A question's vector that points to the first article."""
    return list(article_search.query_vector(VECTOR_OF))


def ids(found: Any) -> list[int]:
    return [article.id for article, _ in found]


@pytest.mark.exhaustive
def test_a_trained_cross_encoder_lifts_the_right_hit(
    articles: str, sqlalchemy_engine: Engine, judge: Reranker, misled: Any
) -> None:
    options: dict[str, Any] = {"vector": misled, "mode": "dense"}
    with Session(sqlalchemy_engine) as session:
        before = article_search.fetch(session, QUERY, 5, **options)
        after = article_search.fetch(session, QUERY, 2, rerank=judge, **options)
        blended = article_search.fetch(session, QUERY, 5, rerank=judge, blend=0.2, **options)

    assert ids(before)[0] == 1
    assert ids(before)[-1] == 5
    assert (before.reranked, before.why_not) == (False, "no reranker was asked for")
    assert ids(after)[0] == 5
    assert len(after) == 2
    assert (after.reranked, after.why_not) == (True, None)
    assert (after[0][1].rerank_score or 0) > 0.5 > (after[1][1].rerank_score or 0)
    assert after[0][-1].score == after[0][-1].rerank_score
    assert after[0][-1].passage == BODIES[4]
    assert ids(blended)[0] == 1


@pytest.mark.exhaustive
def test_a_cross_encoder_keeps_within_a_budget(
    articles: str, sqlalchemy_engine: Engine, judge: Reranker, misled: Any
) -> None:
    with Session(sqlalchemy_engine) as session:
        found = article_search.fetch(
            session, QUERY, 5, rerank=judge, budget=60, vector=misled, mode="dense"
        )

    assert ids(found)[0] == 5
    assert found.scored == 5


def test_an_async_session_fetches_the_same(
    articles: str, sqlalchemy_engine: Engine, judge: Reranker
) -> None:
    async def fetched() -> list[int]:
        engine = create_async_engine(
            "postgresql+psycopg://",
            async_creator=lambda: psycopg.AsyncConnection.connect(articles),
        )
        async with AsyncSession(engine) as session:
            found = await article_search.afetch(session, "amber flint", 4, rerank=judge)
        await engine.dispose()
        assert found.reranked
        return ids(found)

    with Session(sqlalchemy_engine) as session:
        assert asyncio.run(fetched()) == ids(
            article_search.fetch(session, "amber flint", 4, rerank=judge)
        )


def test_the_whole_passage_is_read_and_not_its_beginning(
    articles: str, connection: psycopg.Connection, sqlalchemy_engine: Engine
) -> None:
    long = "amber " * 100 + "the end"
    connection.execute("INSERT INTO article (body) VALUES (%s)", [long])
    drain(articles)
    read: list[str] = []

    def remembering(query: str, passages: Sequence[str]) -> Sequence[float]:
        read.extend(passages)
        return [0.0] * len(passages)

    with Session(sqlalchemy_engine) as session:
        article_search.fetch(session, "amber", 1, rerank=remembering, top=10)

    assert len(read) == 6
    assert any(passage.endswith("the end") and len(passage) > 600 for passage in read)


def test_pages_are_refused_with_the_way_out(
    articles: str, sqlalchemy_engine: Engine, judge: Reranker
) -> None:
    with Session(sqlalchemy_engine) as session, pytest.raises(QueryError, match="without offset"):
        article_search.fetch(session, "amber", rerank=judge, offset=10)


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match="nowhere"):
        cross_encoder(str(tmp_path / "nowhere"))


def run_json(database: str, *arguments: str) -> Any:
    result = CliRunner().invoke(
        app, ["search", "article_search", *arguments, "--json", "--database-url", database]
    )
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_command_reranks_by_a_model_or_an_endpoint(articles: str, model_folder: Path) -> None:
    plain = run_json(articles, "amber quartz")
    local = run_json(articles, "quartz", "--rerank", str(model_folder))
    with serving_reranks() as server:
        remote = run_json(
            articles, "amber", "-k", "2", "--rerank", "endpoint:small", "--rerank-url", server.url
        )
        server.answer = lambda asked: (400, b"broken")
        broken = run_json(
            articles, "amber", "-k", "2", "--rerank", "endpoint:small", "--rerank-url", server.url
        )

    assert (plain["reranked"], plain["rerank_why_not"]) == (False, None)
    assert {hit["rerank"] for hit in plain["hits"]} == {None}
    assert local["reranked"]
    assert local["hits"][0]["key"] == 5
    assert local["hits"][0]["rerank"] == local["hits"][0]["score"] > 0.5
    assert len(remote["hits"]) == 2
    assert remote["hits"][0]["key"] == 5  # the longest
    assert not broken["reranked"]
    assert "answered 400" in broken["rerank_why_not"]
    assert len(broken["hits"]) == 2


def test_the_command_explains_hits_and_rows_that_are_not_there(articles: str) -> None:
    found = run_json(
        articles,
        *("amber birch", "-k", "2", "--explain", "--why-not", "5"),
        *("--where", "id < 10", "--where", "body LIKE 'amber%'"),
    )

    assert [hit["explain"]["key"] for hit in found["hits"]] == [hit["key"] for hit in found["hits"]]
    first = found["hits"][0]["explain"]
    assert first["dense"]["share"] + first["lexical"]["share"] == pytest.approx(first["score"])
    assert {term["term"] for term in first["terms"]} == {"amber", "birch"}
    assert found["explain"]["fusion"] == "calibrated"
    assert found["why_not"]["key"] == "5"
    assert not found["why_not"]["shown"]
    [reason] = found["why_not"]["reasons"]
    assert reason["code"] == "filtered"
    assert reason["details"] == {"condition": "body LIKE 'amber%'", "value": False}


def test_the_command_says_it_in_words(articles: str) -> None:
    arguments = ["search", "article_search", "amber birch", "--database-url", articles]
    explained = CliRunner().invoke(app, [*arguments, "--explain"])
    why_not = CliRunner().invoke(app, [*arguments, "-k", "1", "--why-not", "4"])

    assert "by meaning (similarity" in explained.stdout
    assert "birch" in explained.stdout
    assert "4: not shown, in place" in why_not.stdout
    assert "below_cut: it is in place" in why_not.stdout
