"""Changes made while triggers are silent: not logged, found by ``verify``, mended by its repair."""

from __future__ import annotations

import psycopg
import pytest

from embedsql.database import connect
from embedsql.declare import drop_index
from embedsql.doctor import diagnose
from embedsql.drift import find_drift
from embedsql.registry import RegisteredIndex, find_index
from embedsql.verify import verify_index
from tests.factories import (
    add_index,
    create_article_table,
    drain,
    stored_chunks,
    take_log,
    verify_all,
)

# how triggers are silenced, and how they are woken again
SILENCERS = {
    "SET session_replication_role = replica": "RESET session_replication_role",
    "ALTER TABLE article DISABLE TRIGGER ALL": "ALTER TABLE article ENABLE TRIGGER ALL",
    "ALTER TABLE article DISABLE TRIGGER USER": "ALTER TABLE article ENABLE TRIGGER USER",
}
CHANGES = """
INSERT INTO article (id, title) VALUES (7, 'new');
UPDATE article SET title = 'edited' WHERE id = 1;
UPDATE article SET id = 8 WHERE id = 2;
UPDATE article SET title = NULL WHERE id = 3;
DELETE FROM article WHERE id = 4;
"""


@pytest.fixture
def index(connection: psycopg.Connection, database: str) -> RegisteredIndex:
    """An index on five articles, all embedded."""
    create_article_table(connection)
    connection.execute(
        "INSERT INTO article (title) SELECT 'text ' || n FROM generate_series(1, 5) n"
    )
    index = add_index(connection)
    drain(database)
    return index


@pytest.mark.parametrize("silencer", SILENCERS)
def test_what_silent_triggers_missed_is_found_and_mended_by_verify(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, silencer: str
) -> None:
    connection.execute(silencer.encode())
    connection.execute(CHANGES)
    connection.execute(SILENCERS[silencer].encode())
    assert take_log(connection, index) == []

    with connect(database) as other:
        found = verify_index(other, index, repair=True)
    assert (found.missing, found.stale, found.orphans, found.repaired) == (2, 2, 2, 6)
    assert drain(database).removed == 2

    assert stored_chunks(connection, index) == [
        (1, "edited"),
        (5, "text 5"),
        (7, "new"),
        (8, "text 2"),
    ]
    assert verify_all(database).ok


@pytest.mark.parametrize("silencer", SILENCERS)
def test_triggers_that_are_awake_again_log_as_before(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, silencer: str
) -> None:
    connection.execute(silencer.encode())
    connection.execute(SILENCERS[silencer].encode())

    connection.execute(CHANGES)
    drain(database)

    assert verify_all(database).ok


def test_a_truncate_that_no_trigger_saw_leaves_only_orphans_that_verify_removes(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    connection.execute("SET session_replication_role = replica")
    connection.execute("TRUNCATE article")

    assert connection.execute("SELECT FROM article_search").fetchall() == []
    with connect(database) as other:
        found = verify_index(other, find_index(other, "article_search"), repair=True)
    assert (found.orphans, found.repaired) == (5, 5)
    assert drain(database).removed == 5
    assert stored_chunks(connection, index) == []


@pytest.fixture
def heir(connection: psycopg.Connection, database: str, index: RegisteredIndex) -> str:
    """A table that inherits from the articles, and one that inherits from it, with a row each."""
    connection.execute("CREATE TABLE draft () INHERITS (article)")
    connection.execute('CREATE TABLE "Odd; draft" () INHERITS (draft)')
    connection.execute("INSERT INTO draft (id, title) VALUES (11, 'one')")
    connection.execute("INSERT INTO \"Odd; draft\" (id, title) VALUES (12, 'two')")
    return database


def test_tables_that_inherit_are_named_until_they_have_triggers_of_their_own(
    connection: psycopg.Connection, index: RegisteredIndex, heir: str
) -> None:
    first, second = diagnose(connection)
    assert (first.severity, first.index) == ("error", "article_search")
    assert 'rows of "public"."Odd; draft" show through "public"."article"' in first.finding
    assert 'rows of "public"."draft" show through' in second.finding

    for finding in (first, second):
        statements, _, command = finding.mend.rpartition("\n")
        assert command == "embedsql verify --repair"
        connection.execute(statements.encode())

    assert diagnose(connection) == []
    verify_index(connection, index, repair=True)
    drain(heir)
    assert verify_all(heir).ok


HEIR_CHANGES = {
    "INSERT INTO draft (id, title) VALUES (13, 'x')": [13],
    "UPDATE article SET title = 'x'": [1, 2, 3, 4, 5, 11, 12],
    "UPDATE draft SET id = 14 WHERE id = 11": [11, 14],
    "DELETE FROM article WHERE id > 4": [5, 11, 12],
    "DELETE FROM draft": [11, 12],
    'DELETE FROM ONLY "Odd; draft"': [12],
    "TRUNCATE draft": [],
}


def test_a_table_that_inherits_logs_what_changes_once_it_has_triggers(
    connection: psycopg.Connection, index: RegisteredIndex, heir: str
) -> None:
    for finding in diagnose(connection):
        connection.execute(finding.mend.rpartition("\n")[0].encode())
    found = {}
    for change in HEIR_CHANGES:
        with connection.transaction(force_rollback=True):
            connection.execute(change.encode())
            found[change] = sorted(take_log(connection, index))
            assert len(stored_chunks(connection, index)) == 5

    assert found == HEIR_CHANGES
    connection.execute("ALTER TABLE article RENAME TO story")
    (drift,) = find_drift(connection, index)
    assert 'is "public"."story" now' in drift
    connection.execute("ALTER TABLE story RENAME TO article")
    drop_index(connection, "article_search")
    connection.execute("DELETE FROM draft")


def test_a_log_that_counts_from_the_start_again_is_found_by_the_doctor(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    connection.execute("UPDATE article SET title = title || '!'")
    drain(database)
    assert diagnose(connection) == []
    # as after logical replication, or a restore that sets sequences last
    connection.execute("ALTER SEQUENCE embedsql.article_search_log_seq_seq RESTART")
    connection.execute("UPDATE article SET title = 'new' WHERE id = 1")
    connection.execute("DELETE FROM article WHERE id = 2")
    drain(database)

    (finding,) = diagnose(connection)
    assert (finding.severity, finding.index) == ("error", "article_search")
    statement, command = finding.mend.splitlines()
    connection.execute(statement.encode())
    assert command == "embedsql verify --repair"
    verify_index(connection, index, repair=True)
    drain(database)

    assert diagnose(connection) == []
    assert stored_chunks(connection, index)[0] == (1, "new")
    assert verify_all(database).ok
