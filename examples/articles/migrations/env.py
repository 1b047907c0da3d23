"""The application's own Alembic environment, asynchronous; ``embedsql_hooks()`` is all it adds."""

from __future__ import annotations

import asyncio

from alembic import context
from sqlalchemy import Connection

from embedsql.alembic import embedsql_hooks
from examples.articles.database import make_engine
from examples.articles.models import Base


def run_offline() -> None:
    """Print the SQL (``alembic upgrade head --sql``)."""
    context.configure(
        dialect_name="postgresql",
        target_metadata=Base.metadata,
        literal_binds=True,
        transaction_per_migration=True,
        **embedsql_hooks(),
    )
    with context.begin_transaction():
        context.run_migrations()


def run_with(connection: Connection) -> None:
    """Migrate over one connection."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        transaction_per_migration=True,
        **embedsql_hooks(),
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_online() -> None:
    """Migrate the database."""
    engine = make_engine()
    async with engine.connect() as connection:
        await connection.run_sync(run_with)
    await engine.dispose()


if context.is_offline_mode():
    run_offline()
else:
    asyncio.run(run_online())
