"""One asynchronous engine, from the database URL that embedsql's own commands use."""

from __future__ import annotations

import psycopg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from embedsql.settings import Settings


def make_engine() -> AsyncEngine:
    """An engine; whoever makes it disposes of it."""
    info = Settings().conninfo()

    async def connect() -> psycopg.AsyncConnection:
        return await psycopg.AsyncConnection.connect(info)

    return create_async_engine("postgresql+psycopg://", async_creator=connect)
