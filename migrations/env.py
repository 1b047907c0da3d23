"""The Alembic environment of the demo, and the example that applications copy.

The database is the one that embedsql's own commands use: EMBEDSQL_DATABASE_URL, DATABASE_URL, else
the embedded server.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy.dialects import postgresql

from embedsql.alembic import register_operations
from embedsql.database import engine
from embedsql.settings import Settings
from examples.models import Base

register_operations()


def run_offline() -> None:
    """Print the SQL (``alembic upgrade head --sql``)."""
    context.configure(
        dialect_name=postgresql.dialect.name, target_metadata=Base.metadata, literal_binds=True
    )
    with context.begin_transaction():
        context.run_migrations()


def run_online() -> None:
    """Migrate the database."""
    connectable = engine(Settings().conninfo())
    with connectable.connect() as connection:
        context.configure(connection=connection, target_metadata=Base.metadata)
        with context.begin_transaction():
            context.run_migrations()
    connectable.dispose()


if context.is_offline_mode():
    run_offline()
else:
    run_online()
