from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from psycopg import sql

from embedsql.database import connect
from tests.migration.application import Application


@pytest.fixture
def new_application(tmp_path: Path, empty_database: str) -> Callable[..., Application]:
    """Makes applications with a history of their own on one database that is empty at first."""

    def make(name: str = "app", database: str | None = None, **options: Any) -> Application:
        return Application(tmp_path / name, database or empty_database, **options)

    return make


@pytest.fixture
def application(new_application: Callable[..., Application]) -> Application:
    return new_application()


@pytest.fixture
def role(application: Application) -> Iterator[str]:
    """A role that may do nothing."""
    name = f"role {uuid4().hex[:8]}"
    with connect(application.database) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
        yield name
        connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
