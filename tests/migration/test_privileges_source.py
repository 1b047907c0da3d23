"""Roles go on working and searching where an index is made anew on other columns or tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from sqlalchemy import BigInteger, Column, MetaData, Table, Text
from sqlalchemy.orm import Session

from embedsql.database import connect, engine
from embedsql.doctor import diagnose
from embedsql.grants import Purpose
from tests.everyday import cases
from tests.factories import drain
from tests.migration.application import Application, article, declare, operations_in
from tests.migration.test_operations import DECLARED, run_script
from tests.migration.test_privileges import grant, lacks
from tests.migration.test_variants import HOSTILE

# what every role holds as a member of PUBLIC, taken away, so that our own grants are what is tested
HARDENED = (
    "REVOKE ALL ON SCHEMA public FROM PUBLIC",
    "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA embedsql FROM PUBLIC",
)


def first(metadata: MetaData) -> None:
    declare(article(metadata))


def other_columns(metadata: MetaData) -> None:
    declare(article(metadata, Column("summary", Text)), text=("summary", "body"))


def another_key(metadata: MetaData) -> None:
    table = Table(
        "article",
        metadata,
        Column("number", BigInteger, primary_key=True),
        Column("title", Text),
        Column("body", Text),
    )
    declare(table)


def another_table(metadata: MetaData) -> None:
    declare(article(metadata, name="page"))


def two_indexes(metadata: MetaData) -> None:
    table = article(metadata)
    declare(table)
    declare(table, "title_search", text="title")


def two_other_indexes(metadata: MetaData) -> None:
    table = article(metadata, Column("summary", Text))
    declare(table, text=("summary", "body"))
    declare(table, "title_search", text=("title", "summary"))


@pytest.fixture
def change(application: Application) -> Callable[[Callable[[MetaData], None]], list[str]]:
    """Declares something else, and lets autogenerate write a revision; its operations."""

    def make(declaration: Callable[[MetaData], None]) -> list[str]:
        application.metadata = MetaData()
        declaration(application.metadata)
        return operations_in(application.revise())

    return make


@pytest.fixture
def connection(
    application: Application, change: Callable[[Callable[[MetaData], None]], list[str]]
) -> Any:
    """A database with an index that PUBLIC may do nothing with."""
    change(first)
    application.upgrade()
    with connect(application.database) as opened:
        for statement in HARDENED:
            opened.execute(statement.encode())
        yield opened


@pytest.mark.parametrize(
    "declaration", cases([other_columns, another_table, another_key], other_columns)
)
@pytest.mark.parametrize("purpose", ["worker", "search"])
def test_a_role_keeps_what_it_can_do(
    application: Application,
    connection: psycopg.Connection,
    change: Any,
    role: str,
    purpose: Purpose,
    declaration: Callable[[MetaData], None],
) -> None:
    grant(connection, role, purpose)
    operations = change(declaration)
    assert {"drop_semantic_index", "create_semantic_index"} < set(operations)
    application.upgrade()
    assert lacks(connection, role, purpose) == []
    application.downgrade()
    assert lacks(connection, role, purpose) == []
    application.upgrade()
    assert lacks(connection, role, purpose) == []


def test_the_roles_of_an_application_notice_nothing(
    application: Application, connection: psycopg.Connection, change: Any, role: str
) -> None:
    grant(connection, role, "worker")
    grant(connection, role, "search")
    change(other_columns)
    application.upgrade()
    connection.execute("INSERT INTO article (id, summary) VALUES (1, 'amber')")
    as_role = make_conninfo(application.database, user=role)
    index = declare(application.metadata.tables["article"], text=("summary", "body"))
    opened = engine(as_role)
    for _ in ("pending", "embedded"):
        with Session(opened) as session:
            statement = index.search("amber", limit=1)
            assert [hit.score > 0 for *_, hit in session.execute(statement)] == [True]
        assert drain(as_role).problems == {}
    opened.dispose()


def test_two_indexes_in_one_revision_are_not_mistaken(
    application: Application, connection: psycopg.Connection, change: Any, role: str
) -> None:
    change(two_indexes)
    application.upgrade()
    grant(connection, role, "search")
    change(two_other_indexes)
    application.upgrade()
    assert lacks(connection, role, "search") == []
    assert lacks(connection, role, "search", "title_search") != []


@pytest.mark.parametrize("name", cases(HOSTILE, HOSTILE[1]))
def test_hostile_names_are_names(
    application: Application, connection: psycopg.Connection, change: Any, role: str, name: str
) -> None:
    def named(metadata: MetaData, *text: str) -> None:
        key = Column("Key " + name[:20], BigInteger, primary_key=True, autoincrement=False)
        columns = (Column(one, Text) for one in text)
        declare(Table("My " + name[:50], metadata, key, *columns), name, text=text)

    change(lambda metadata: named(metadata, "One " + name[:20]))
    application.upgrade()
    grant(connection, role, "search", name)
    change(lambda metadata: named(metadata, "One " + name[:20], "Two " + name[:20]))
    application.upgrade()
    assert lacks(connection, role, "search", name) == []


def test_a_printed_revision_keeps_them(
    application: Application,
    connection: psycopg.Connection,
    change: Any,
    role: str,
    tmp_path: Path,
) -> None:
    grant(connection, role, "search")
    change(other_columns)
    run_script(application.database, tmp_path, application.printed("0001:0002"))
    assert lacks(connection, role, "search") == []


def test_what_a_role_could_do_in_part_it_can_do_in_part(
    application: Application, connection: psycopg.Connection, change: Any, role: str
) -> None:
    """A report that reads the view is no search, and does not become one."""
    quoted = sql.Identifier(role)
    connection.execute(sql.SQL("GRANT SELECT ON article_search TO {}").format(quoted))
    connection.execute(
        sql.SQL("GRANT SELECT ON embedsql.article_search_chunk_1_view TO {}").format(quoted)
    )
    before = lacks(connection, role, "search")
    change(other_columns)
    application.upgrade()
    # functions are everybody's until they are taken away
    due = {each.replace('"title"', '"summary"') for each in before if "_pending" not in each}
    assert set(lacks(connection, role, "search")) == due


def test_a_lexical_lane_that_is_added_is_searched(
    application: Application, connection: psycopg.Connection, change: Any, role: str
) -> None:
    change(lambda metadata: declare(article(metadata), lexical=None))
    application.upgrade()
    grant(connection, role, "search")
    assert change(first) == ["change_semantic_index"]
    application.upgrade()
    assert lacks(connection, role, "search") == []


def test_a_drop_and_a_creation_of_two_sessions_are_made_all_the_same(
    application: Application, connection: psycopg.Connection, role: str
) -> None:
    grant(connection, role, "search")
    application.write(f"op.drop_semantic_index({DECLARED}, keep_privileges=True)")
    application.write(f"op.create_semantic_index({DECLARED}, keep_privileges=True)")
    application.upgrade("+1")
    application.upgrade("+1")
    found = diagnose(connection, "article_search")
    assert [each.mend.count("GRANT") for each in found if repr(role) in each.finding] == [
        len(lacks(connection, role, "search"))
    ]


def test_a_drop_for_good_keeps_nothing(
    application: Application, connection: psycopg.Connection, change: Any, role: str
) -> None:
    grant(connection, role, "search")
    change(article)
    assert "keep_privileges" not in next(application.versions.glob("0002_*.py")).read_text()
    application.upgrade()
    change(first)
    application.upgrade()
    assert lacks(connection, role, "search") != []
