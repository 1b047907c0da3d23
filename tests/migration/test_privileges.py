"""What roles may do with an index outlives a revision that makes the index anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from embedsql.database import connect
from embedsql.grants import Purpose, grant_statements, missing_grants, policy_statements
from embedsql.registry import RegisteredIndex, find_index
from tests.factories import drain
from tests.migration.application import Application
from tests.migration.test_operations import DECLARED, run_script, write_first

OTHER = DECLARED.replace("hash:64", "hash:32").replace("dimensions=64", "dimensions=32")
TO_OTHER = f"op.change_semantic_index({OTHER}, before={{'model': 'hash:64', 'dimensions': 64}})"
BACK = f"op.change_semantic_index({DECLARED}, before={{'model': 'hash:32', 'dimensions': 32}})"


@pytest.fixture
def application(application: Application) -> Application:
    """An index of two articles, and a revision to come that makes it anew."""
    write_first(application)
    application.upgrade()
    with connect(application.database) as connection:
        connection.execute("INSERT INTO article (id, body) VALUES (1, 'one'), (2, 'two')")
    application.write(TO_OTHER, BACK)
    return application


@pytest.fixture
def connection(application: Application) -> Iterator[psycopg.Connection]:
    with connect(application.database) as opened:
        yield opened


def grant(
    connection: psycopg.Connection, role: str, purpose: Purpose, name: str = "article_search"
) -> RegisteredIndex:
    index = find_index(connection, name)
    for statement in grant_statements(index.spec, role, purpose, index.names):
        connection.execute(statement.encode())
    return index


def lacks(
    connection: psycopg.Connection, role: str, purpose: Purpose, name: str = "article_search"
) -> list[str]:
    index = find_index(connection, name)
    return missing_grants(connection, index.spec, purpose, index.names, role)


def hidden(connection: psycopg.Connection) -> list[str]:
    """The tables of which row-level security hides rows."""
    found = connection.execute(
        "SELECT relname FROM pg_class JOIN pg_policy ON polrelid = pg_class.oid "
        "WHERE relrowsecurity AND relnamespace = 'embedsql'::regnamespace ORDER BY 1"
    )
    return [name for (name,) in found]


@pytest.mark.parametrize("purpose", ["worker", "search"])
def test_a_role_keeps_its_privileges(
    application: Application, connection: psycopg.Connection, role: str, purpose: Purpose
) -> None:
    grant(connection, role, purpose)
    application.upgrade()
    assert find_index(connection, "article_search").spec.model == "hash:32"
    assert lacks(connection, role, purpose) == []
    application.downgrade()
    assert lacks(connection, role, purpose) == []
    assert hidden(connection) == []


def test_a_printed_revision_keeps_them(
    application: Application, connection: psycopg.Connection, role: str, tmp_path: Path
) -> None:
    grant(connection, role, "search")
    run_script(application.database, tmp_path, application.printed("0003:0004"))
    assert find_index(connection, "article_search").spec.model == "hash:32"
    assert lacks(connection, role, "search") == []


def test_rows_that_a_policy_hides_stay_hidden(
    application: Application, connection: psycopg.Connection, role: str
) -> None:
    index = grant(connection, role, "search")
    connection.execute("ALTER TABLE article ENABLE ROW LEVEL SECURITY")
    connection.execute("CREATE POLICY odd ON article USING (id = 1)")
    for statement in policy_statements(index.spec, index.names):
        connection.execute(statement.encode())
    before = hidden(connection)

    application.upgrade()
    drain(application.database)

    assert hidden(connection) == before != []
    chunk = sql.Identifier("embedsql", index.names.chunk)
    connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    assert connection.execute(sql.SQL("SELECT chunk FROM {}").format(chunk)).fetchall() == [
        ("one",)
    ]
    connection.execute("RESET ROLE")


def test_without_a_word_kept_nothing_is_granted(
    application: Application, connection: psycopg.Connection, role: str
) -> None:
    application.upgrade()
    assert lacks(connection, role, "search") != []


def test_an_index_whose_chunks_are_lost_is_made_anew_all_the_same(
    application: Application, connection: psycopg.Connection, role: str
) -> None:
    index = grant(connection, role, "search")
    connection.execute(
        sql.SQL("DROP TABLE embedsql.{} CASCADE").format(sql.Identifier(index.names.chunk))
    )
    application.upgrade()
    assert find_index(connection, "article_search").spec.model == "hash:32"
    assert drain(application.database).saved == 2
