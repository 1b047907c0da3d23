"""A source that is no longer as declared stops its own index alone, and what mends it is said."""

from __future__ import annotations

import re

import psycopg
import pytest
from psycopg import sql
from typer.testing import CliRunner

from embedsql.cli import app
from embedsql.doctor import diagnose
from embedsql.drift import find_drift
from embedsql.registry import RegisteredIndex, find_index
from embedsql.status import index_status
from tests.everyday import cases
from tests.factories import add_index, create_article_table, drain, stored_chunks, verify_all

RENAME = 'ALTER TABLE "public"."story" RENAME TO "article";'
MOVE = 'ALTER TABLE "app"."article" SET SCHEMA "public";'
REKEY = """
ALTER TABLE article DROP CONSTRAINT article_pkey;
ALTER TABLE article ADD COLUMN code uuid PRIMARY KEY DEFAULT gen_random_uuid();
"""
RETYPE = """
DROP VIEW article_search;
DROP TRIGGER embedsql_article_search_update ON article;
ALTER TABLE article ALTER id DROP IDENTITY;
ALTER TABLE article ALTER id TYPE text;
"""

# what happens to the source, a change that it takes then, and what the message says
BREAKAGES = {
    "ALTER TABLE article RENAME TO story": ("UPDATE story SET title = 'x'", [RENAME]),
    "CREATE SCHEMA app; ALTER TABLE article SET SCHEMA app": (
        "UPDATE app.article SET title = 'x'",
        [MOVE],
    ),
    "ALTER TABLE article RENAME TO story; CREATE SCHEMA app; ALTER TABLE story SET SCHEMA app": (
        "UPDATE app.story SET title = 'x'",
        [MOVE.replace("article", "story"), RENAME],
    ),
    "DROP TABLE article CASCADE": ("SELECT 1", ["is gone: embedsql drop article_search"]),
    "ALTER TABLE article RENAME title TO headline": (
        "UPDATE article SET headline = 'x'",
        ['the column "title"', 'RENAME COLUMN "headline" TO "title";'],
    ),
    "ALTER TABLE article DROP COLUMN title CASCADE": (
        "INSERT INTO article (body) VALUES ('x')",
        ['"title" of "public"."article" is gone', '"body"', '"embedsql_article_search_update"'],
    ),
    "ALTER TABLE article RENAME id TO key": (
        "UPDATE article SET tenant_id = 2",
        ['the column "id"', 'RENAME COLUMN "key" TO "id";', "changes of rows fail"],
    ),
    REKEY: ("SELECT 1", ['was ("id" bigint) and is ("code" uuid)', "embedsql add"]),
    RETYPE: ("SELECT 1", ['was ("id" bigint) and is ("id" text)', "embedsql add"]),
    "ALTER TABLE article DISABLE TRIGGER embedsql_article_search_delete": (
        "DELETE FROM article WHERE id = 1",
        ['ENABLE TRIGGER "embedsql_article_search_delete"', "--repair"],
    ),
}


@pytest.fixture
def index(connection: psycopg.Connection, database: str) -> RegisteredIndex:
    """An index on the titles of two articles, and one on notes, all embedded."""
    create_article_table(connection)
    connection.execute("INSERT INTO article (title) VALUES ('a'), ('b')")
    connection.execute("CREATE TABLE note (id int PRIMARY KEY, body text)")
    add_index(connection, "note", text=("body",))
    index = add_index(connection, text=("title",))
    drain(database)
    return index


@pytest.mark.parametrize("breakage", cases(BREAKAGES, *list(BREAKAGES)[1::5]))
def test_what_mends_a_broken_source_is_said(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, breakage: str
) -> None:
    assert find_drift(connection, index) == []
    _, expected = BREAKAGES[breakage]

    connection.execute(breakage.encode())

    said = " ".join(find_drift(connection, index))
    assert [words for words in expected if words not in said] == [], said
    result = CliRunner().invoke(app, ["verify", "--database-url", database])
    assert result.exit_code == 3
    assert [words for words in expected if words not in result.stdout] == [], result.stdout
    # the other index is still compared
    assert "note_search: all rows agree" in result.stdout


@pytest.mark.parametrize("breakage", cases(BREAKAGES, *list(BREAKAGES)[::5]))
def test_other_indexes_go_on_beside_a_broken_source(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, breakage: str
) -> None:
    change, _ = BREAKAGES[breakage]
    connection.execute(breakage.encode())
    connection.execute(change.encode())
    connection.execute("INSERT INTO note VALUES (1, 'n')")

    report = drain(database)

    assert report.problems.keys() <= {"article_search"}
    assert find_index(connection, "article_search").problem == report.problems.get("article_search")
    assert connection.execute("SELECT id, chunk FROM note_search").fetchall() == [(1, "n")]


@pytest.mark.parametrize(
    ("breakage", "meanwhile", "expected"),
    [
        (
            "ALTER TABLE article RENAME TO story",
            "UPDATE story SET title = 'x' WHERE id = 1",
            [(1, "x"), (2, "b")],
        ),
        (
            "CREATE SCHEMA app; ALTER TABLE article SET SCHEMA app",
            "DELETE FROM app.article WHERE id = 2",
            [(1, "a")],
        ),
        (
            "ALTER TABLE article RENAME title TO headline",
            "UPDATE article SET headline = 'x' WHERE id = 1",
            [(1, "x"), (2, "b")],
        ),
    ],
)
def test_the_statement_that_is_said_mends_the_source_and_nothing_was_lost(
    connection: psycopg.Connection,
    database: str,
    index: RegisteredIndex,
    breakage: str,
    meanwhile: str,
    expected: list[tuple[int, str]],
) -> None:
    connection.execute(breakage.encode())
    connection.execute(meanwhile.encode())
    assert "article_search" in drain(database).problems

    (said,) = find_drift(connection, index)
    (statement,) = re.findall(r"ALTER TABLE [^;]+;", said)
    connection.execute(statement.encode())

    assert find_drift(connection, index) == []
    assert drain(database).problems == {}
    assert find_index(connection, "article_search").problem is None
    assert stored_chunks(connection, index) == expected
    assert verify_all(database).ok


RENAMES = {
    "the key": ({"id": "key"}, "note"),
    "a key of two columns, and the text": ({"region": "id", "id": "part", "body": "said"}, "event"),
}


@pytest.mark.parametrize(("renamed", "table"), RENAMES.values(), ids=list(RENAMES))
def test_a_renamed_key_stops_the_application_with_what_to_run(
    connection: psycopg.Connection,
    database: str,
    index: RegisteredIndex,
    renamed: dict[str, str],
    table: str,
) -> None:
    connection.execute(
        "CREATE TABLE event (region int, id int, body text, PRIMARY KEY (region, id))"
    )
    connection.execute("INSERT INTO event VALUES (1, 2, 'snow'); INSERT INTO note VALUES (1, 'n')")
    event = add_index(connection, "event", text=("body",))
    drain(database)
    for old, new in renamed.items():
        passing = sql.SQL("ALTER TABLE {} RENAME COLUMN {} TO {}").format(
            *map(sql.Identifier, (table, old, f"new {new}"))
        )
        connection.execute(passing)

    key = [f'"new {new}"' for old, new in renamed.items() if old != "body"]
    text = "body" if table == "note" else '"new said"'
    for refused in (
        f"INSERT INTO {table} ({', '.join(key)}) VALUES ({', '.join('7' for _ in key)})",
        f"UPDATE {table} SET {text} = 'x'",
        f"DELETE FROM {table}",
    ):
        with pytest.raises(psycopg.errors.UndefinedColumn, match="embedsql doctor says"):
            connection.execute(refused.encode())

    for finding in diagnose(connection, f"{table}_search"):
        connection.execute(finding.mend.encode())
    assert find_drift(connection, find_index(connection, f"{table}_search")) == []
    connection.execute("UPDATE event SET body = 'sun'; UPDATE note SET body = 'm'")
    drain(database)
    assert stored_chunks(connection, event) == [(1, 2, "sun")]
    assert verify_all(database).ok


def test_the_status_of_all_is_told_where_a_key_is_renamed_before_its_rows_were_found(
    connection: psycopg.Connection, index: RegisteredIndex
) -> None:
    connection.execute("INSERT INTO article (title) SELECT 'x' FROM generate_series(1, 1200)")
    connection.execute("ALTER TABLE article RENAME COLUMN id TO key")

    found = {one.index: one for one in index_status(connection)}

    assert found["note_search"].problem is None
    assert "embedsql doctor" in (found["article_search"].problem or "")
    assert (found["article_search"].rows, found["article_search"].pending) == (1202, 1000)
