"""The application: write articles, search them. A worker of embedsql embeds what is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from embedsql import QueryError
from examples.articles.database import make_engine
from examples.articles.models import Article, article_search


class NewArticle(BaseModel):
    """What is written."""

    tenant_id: int
    title: str
    body: str


class Found(BaseModel):
    """An article that was found; ``snippet`` is the part that answers."""

    id: int
    title: str
    score: float
    snippet: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold the engine while the application runs."""
    app.state.engine = make_engine()
    yield
    await app.state.engine.dispose()


app = FastAPI(title="Articles", lifespan=lifespan)


async def open_session(request: Request) -> AsyncIterator[AsyncSession]:
    """A session for one request; what it wrote is committed where nothing was raised."""
    async with AsyncSession(request.app.state.engine) as session, session.begin():
        yield session


Session = Annotated[AsyncSession, Depends(open_session)]


@app.post("/articles", status_code=201)
async def write(new: NewArticle, session: Session) -> int:
    """Write an article. Nothing here knows of vectors: a trigger notes the key."""
    article = Article(**new.model_dump())
    session.add(article)
    await session.flush()
    return article.id


@app.get("/search")
async def search(
    session: Session,
    tenant_id: int,
    q: Annotated[str, Query(description="A question, or words.")],
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
) -> list[Found]:
    """The tenant's articles that answer best."""
    try:
        # the model computes for milliseconds: in a thread, so that other requests go on
        statement = await asyncio.to_thread(
            article_search.search, q, limit=limit, where=[Article.tenant_id == tenant_id]
        )
    except QueryError as error:
        raise HTTPException(422, str(error)) from error
    rows = await session.execute(statement)
    return [
        Found(id=article.id, title=article.title, score=hit.score, snippet=hit.snippet)
        for article, hit in rows
    ]
