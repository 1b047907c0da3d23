"""Changes made while triggers are silent: not logged, found by ``verify``, mended by its repair."""

from __future__ import annotations

import psycopg
import pytest

from embedsql.database import connect
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
