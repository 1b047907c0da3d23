"""One real server for all tests, a template database, and a fresh database for each test.

The server is the embedded one in a folder of its own, or, where EMBEDSQL_TEST_URL is set, any
server whose role may create databases.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from sqlalchemy.engine import Engine

from embedsql.database import connect, conninfo, engine
from embedsql.embedded import EmbeddedServer
from embedsql.installation import install
from tests.servers import folder_for_a_server

TEMPLATE = "embedsql_test_template"

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def pytest_report_header() -> str:
    judged = datasets_folder()
    return f"judged collections: {judged or 'absent, their tests are skipped'}"


def pytest_collection_finish() -> None:
    # a seventh of the tests' time went into looking for garbage, mostly among what is imported
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


def datasets_folder() -> Path | None:
    """The judged collections: EMBEDSQL_DATASETS, else ../shared/datasets, else nowhere."""
    named = os.environ.get("EMBEDSQL_DATASETS")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "datasets"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The conninfo of a server with a role that may do anything."""
    named = os.environ.get("EMBEDSQL_TEST_URL")
    if named:
        yield conninfo(named)
        return
    with folder_for_a_server("embedsql-test-") as folder:
        embedded = EmbeddedServer(folder / "home")
        try:
            info = conninfo(embedded.start())
            with connect(info) as connection:  # gone after the tests anyway, whatever happens
                connection.execute("ALTER SYSTEM SET fsync = off")
                connection.execute("SELECT pg_reload_conf()")
            yield info
        finally:
            embedded.stop()


@pytest.fixture(scope="session")
def template(server: str) -> str:
    """A database with the kit installed, to be copied."""
    with connect(server) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(TEMPLATE)))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
    with connect(make_conninfo(server, dbname=TEMPLATE)) as connection:
        install(connection)
    return TEMPLATE


@pytest.fixture
def new_database(server: str) -> Iterator[Callable[..., str]]:
    """Makes databases, copies of a template or empty, and drops them afterwards."""
    yield from _databases(server)


@pytest.fixture(scope="module")
def module_database(server: str, template: str) -> Iterator[str]:
    """The conninfo of a database with the kit installed, for all tests of a module."""
    for make in _databases(server):
        yield make(template)


def _databases(server: str) -> Iterator[Callable[..., str]]:
    names: list[str] = []

    def make(template: str = "template0") -> str:
        name = f"test_{uuid4().hex[:12]}"
        with connect(server) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
        names.append(name)
        return make_conninfo(server, dbname=name)

    yield make
    with connect(server) as connection:
        for name in names:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


@pytest.fixture
def database(new_database: Callable[..., str], template: str) -> str:
    """The conninfo of a fresh database with the kit installed."""
    return new_database(template)


@pytest.fixture
def empty_database(new_database: Callable[..., str]) -> str:
    """The conninfo of a fresh database without the kit."""
    return new_database()


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection]:
    """An autocommit connection to the fresh database."""
    with connect(database) as opened:
        yield opened


@pytest.fixture
def sqlalchemy_engine(database: str) -> Iterator[Engine]:
    """An SQLAlchemy engine on the fresh database."""
    made = engine(database)
    yield made
    made.dispose()
