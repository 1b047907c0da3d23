"""The example application: its own history, its endpoints, and an event loop that never waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from alembic import command
from alembic.config import Config

from embedsql.database import connect
from embedsql.embedders.hashing import HashEmbedder
from examples.articles.app import app
from examples.articles.models import article_search
from tests.factories import drain, verify_all

ROOT = Path(__file__).parents[2]
ARTICLES = [
    {"tenant_id": 1, "title": "Getting back in", "body": "Reset a forgotten password by e-mail."},
    {"tenant_id": 1, "title": "Invoices", "body": "Every month's invoice is a PDF document."},
    {"tenant_id": 2, "title": "Passwords", "body": "A secret of another tenant."},
]


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """The declaration is the application's, for good: what one test made of it is not another's."""
    yield
    for cached in ("embedder", "_query_vectors"):
        vars(article_search).pop(cached, None)


@pytest.fixture
def migrated(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("EMBEDSQL_DATABASE_URL", empty_database)
    command.upgrade(configuration(), "head")
    return empty_database


@pytest.fixture
def hashed(migrated: str) -> str:
    """The same with the hash embedder, which needs no weights."""
    with connect(migrated) as connection:
        connection.execute(
            "UPDATE embedsql.semantic_index SET declaration = declaration "
            """|| '{"model": "hash:384"}'"""
        )
    vars(article_search)["embedder"] = HashEmbedder("hash:384")
    return migrated


def configuration() -> Config:
    return Config(ROOT / "examples" / "articles" / "alembic.ini")


@asynccontextmanager
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://articles") as opened,
    ):
        yield opened


async def write() -> None:
    async with client() as opened:
        for article in ARTICLES:
            response = await opened.post("/articles", json=article)
            assert response.status_code == 201


async def search(**query: Any) -> httpx.Response:
    async with client() as opened:
        return await opened.get("/search", params={"tenant_id": 1, **query})


def test_its_history_and_its_models_agree(migrated: str) -> None:
    command.check(configuration())
    command.downgrade(configuration(), "base")
    command.upgrade(configuration(), "head")
    command.check(configuration())


def test_what_is_written_is_found_by_its_tenant_alone(hashed: str) -> None:
    asyncio.run(write())
    assert drain(hashed).saved == 3
    found = asyncio.run(search(q="forgotten password")).json()
    assert found[0]["title"] == "Getting back in"
    assert "forgotten password" in found[0]["snippet"]
    assert "Passwords" not in {each["title"] for each in found}
    assert verify_all(hashed).ok


@pytest.mark.model
def test_a_question_is_answered_by_meaning(migrated: str) -> None:
    asyncio.run(write())
    drain(migrated)
    found = asyncio.run(search(q="I cannot log into my account any more", limit=1)).json()
    assert [each["title"] for each in found] == ["Getting back in"]


def test_a_query_that_cannot_be_is_refused_with_its_reason(hashed: str) -> None:
    response = asyncio.run(search(q=" "))
    assert response.status_code == 422
    assert "empty" in response.json()["detail"]


class Waiting(HashEmbedder):
    """Computes until another request has been answered."""

    def __init__(self) -> None:
        super().__init__("hash:384")
        self.started, self.answered = threading.Event(), threading.Event()

    def embed_queries(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.started.set()
        assert self.answered.wait(60), "the event loop waits for the model"
        return super().embed_queries(texts)


def test_other_requests_go_on_while_a_query_is_embedded(hashed: str) -> None:
    model = Waiting()
    vars(article_search)["embedder"] = model

    async def both() -> tuple[httpx.Response, httpx.Response]:
        async with client() as opened:
            asked = asyncio.create_task(opened.get("/search?tenant_id=1&q=password"))
            await asyncio.to_thread(model.started.wait, 60)
            written = await opened.post("/articles", json=ARTICLES[0])
            model.answered.set()
            return written, await asked

    written, asked = asyncio.run(both())
    assert (written.status_code, asked.status_code) == (201, 200)
