"""The doctor names what other roles lack, and nothing of roles that are no concern of an index."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from embedsql.declare import drop_index
from embedsql.doctor import Finding, diagnose
from embedsql.grants import Purpose, grant_statements
from embedsql.registry import RegisteredIndex
from tests.factories import add_index, create_article_table

PURPOSES: list[tuple[Purpose, str]] = [("worker", "work on"), ("search", "search")]


@pytest.fixture
def role(connection: psycopg.Connection) -> Iterator[str]:
    name = f"""r"o'le %s {uuid4().hex[:8]}"""
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
    yield name
    connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
    connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture
def index(connection: psycopg.Connection) -> RegisteredIndex:
    create_article_table(connection)
    return add_index(connection)


def let(
    connection: psycopg.Connection, index: RegisteredIndex, role: str, purpose: Purpose
) -> None:
    for statement in grant_statements(index.spec, role, purpose, index.names):
        connection.execute(statement.encode())


def of_role(connection: psycopg.Connection, role: str) -> list[Finding]:
    return [each for each in diagnose(connection) if repr(role) in each.finding]


@pytest.mark.parametrize(("purpose", "verb"), PURPOSES)
def test_what_a_role_lost_with_an_index_is_named(
    connection: psycopg.Connection, index: RegisteredIndex, role: str, purpose: Purpose, verb: str
) -> None:
    let(connection, index, role, purpose)
    assert of_role(connection, role) == []

    drop_index(connection, "article_search")
    add_index(connection)

    (finding,) = of_role(connection, role)
    assert (finding.severity, finding.index) == ("note", "article_search")
    assert f"meant to {verb} it" in finding.finding
    for statement in finding.mend.splitlines():
        connection.execute(statement.encode())
    assert of_role(connection, role) == []


def test_what_a_role_lacks_of_an_index_that_it_searches_is_a_warning(
    connection: psycopg.Connection, index: RegisteredIndex, role: str
) -> None:
    let(connection, index, role, "search")
    quoted = sql.Identifier(role)
    connection.execute(sql.SQL("REVOKE SELECT (body) ON article FROM {}").format(quoted))

    (finding,) = of_role(connection, role)

    assert finding.severity == "warning"
    assert finding.mend.startswith('GRANT SELECT ("title", "body") ON "public"."article" TO')
    connection.execute(finding.mend.encode())
    assert of_role(connection, role) == []


def test_a_role_of_another_table_is_no_concern(
    connection: psycopg.Connection, index: RegisteredIndex, role: str
) -> None:
    connection.execute("CREATE TABLE note (id bigint PRIMARY KEY, body text)")
    let(connection, add_index(connection, "note", text=("body",)), role, "search")
    quoted = sql.Identifier(role)
    connection.execute("CREATE VIEW report AS SELECT body FROM article")
    connection.execute(sql.SQL("GRANT SELECT ON report TO {}").format(quoted))
    assert of_role(connection, role) == []
