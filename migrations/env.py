"""The Alembic environment of the demo, and the example that applications copy.

The database is the one that embedsql's own commands use: EMBEDSQL_DATABASE_URL, DATABASE_URL, else
the embedded server.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy.dialects import postgresql

from embedsql.alembic import embedsql_hooks
from embedsql.database import engine
from embedsql.settings import Settings
from examples.models import Base


def run_offline() -> None:
    """Print the SQL (``alembic upgrade head --sql``)."""
    context.configure(
        dialect_name=postgresql.dialect.name,
        target_metadata=Base.metadata,
        literal_binds=True,
        transaction_per_migration=True,
        **embedsql_hooks(),
    )
    with context.begin_transaction():
        context.run_migrations()


def run_online() -> None:
    """Migrate the database."""
    connectable = engine(Settings().conninfo())
    with connectable.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            transaction_per_migration=True,  # a revision that waits holds no other one's locks
            **embedsql_hooks(),
        )
        with context.begin_transaction():
            context.run_migrations()
    connectable.dispose()


if context.is_offline_mode():
    run_offline()
else:
    run_online()
