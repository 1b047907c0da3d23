"""Partitioned sources: whichever way a change comes in, it is logged."""

from __future__ import annotations

import psycopg
import pytest

from embedsql.database import connect
from embedsql.registry import RegisteredIndex, find_index
from embedsql.verify import verify_index
from tests.factories import add_index, drain, stored_chunks, take_log, verify_all

EVENT = """
CREATE TABLE event (region text, id int, body text, PRIMARY KEY (region, id))
    PARTITION BY LIST (region);
CREATE TABLE event_north PARTITION OF event FOR VALUES IN ('n');
CREATE TABLE event_south PARTITION OF event FOR VALUES IN ('s');
"""
EAST = """
CREATE TABLE event_east (LIKE event INCLUDING INDEXES);
INSERT INTO event_east VALUES ('e', 1, 'dawn'), ('e', 2, 'dusk');
"""


@pytest.fixture
def index(connection: psycopg.Connection) -> RegisteredIndex:
    """An index on the whole of it; one row in each partition."""
    connection.execute(EVENT)
    connection.execute("INSERT INTO event VALUES ('n', 1, 'snow'), ('s', 1, 'sun')")
    return add_index(connection, "event", text=("body",))


CHANGES: dict[str, list[tuple[str, int]]] = {
    "INSERT INTO event VALUES ('n', 2, 'x'), ('s', 2, 'y')": [("n", 2), ("s", 2)],
    "INSERT INTO event_north VALUES ('n', 2, 'x')": [("n", 2)],
    "UPDATE event SET body = 'x'": [("n", 1), ("s", 1)],
    "UPDATE event_south SET body = 'x'": [("s", 1)],
    "UPDATE event SET body = body": [],
    "UPDATE event SET region = 's', id = 2 WHERE region = 'n'": [("n", 1), ("s", 2)],
    "UPDATE event SET id = 3 WHERE region = 'n'": [("n", 1), ("n", 3)],
    "DELETE FROM event WHERE region = 'n'": [("n", 1)],
    "DELETE FROM event_south": [("s", 1)],
    """INSERT INTO event VALUES ('n', 1, 'x'), ('n', 2, 'y')
       ON CONFLICT (region, id) DO UPDATE SET body = EXCLUDED.body""": [("n", 1), ("n", 2)],
}


def test_a_change_logs_its_keys(connection: psycopg.Connection, index: RegisteredIndex) -> None:
    found = {}
    for change in CHANGES:
        with connection.transaction(force_rollback=True):
            connection.execute(change.encode())
            found[change] = sorted(take_log(connection, index))

    assert found == CHANGES


def test_a_copy_into_one_partition_and_into_all_is_logged(
    connection: psycopg.Connection, index: RegisteredIndex
) -> None:
    for table, key in (("event", 2), ("event_north", 3)):
        with connection.cursor().copy(f"COPY {table} FROM STDIN".encode()) as copy:
            copy.write_row(("n", key, "x"))

    assert take_log(connection, index) == [("n", 2), ("n", 3)]


def test_a_partition_made_later_is_watched_too(
    connection: psycopg.Connection, index: RegisteredIndex, database: str
) -> None:
    connection.execute("CREATE TABLE event_west PARTITION OF event FOR VALUES IN ('w')")
    connection.execute("INSERT INTO event_west VALUES ('w', 1, 'wind')")

    assert take_log(connection, index) == [("w", 1)]


def test_truncating_the_whole_empties_the_index(
    connection: psycopg.Connection, index: RegisteredIndex, database: str
) -> None:
    connection.execute("UPDATE event SET body = body || '!'")
    drain(database)
    assert len(stored_chunks(connection, index)) == 2

    connection.execute("TRUNCATE event")

    assert stored_chunks(connection, index) == []


@pytest.mark.parametrize(
    "change",
    [
        "TRUNCATE event_north",
        "ALTER TABLE event DETACH PARTITION event_north",
        "DROP TABLE event_north",
    ],
)
def test_what_no_trigger_sees_is_found_and_mended_by_verify(
    connection: psycopg.Connection, index: RegisteredIndex, database: str, change: str
) -> None:
    connection.execute("UPDATE event SET body = body || '!'")
    drain(database)

    connection.execute(change.encode())

    # a search joins the source, as the index's view does: the orphan is not shown meanwhile
    assert connection.execute("SELECT chunk FROM event_search").fetchall() == [("sun!",)]
    with connect(database) as other:
        verdict = verify_index(other, find_index(other, "event_search"), repair=True)
    assert (verdict.orphans, verdict.repaired) == (1, 1)
    drain(database)
    assert verify_all(database).ok


def test_an_index_on_one_partition_sees_what_comes_through_the_parent(
    connection: psycopg.Connection, database: str
) -> None:
    connection.execute(EVENT)
    index = add_index(connection, "event_north", text=("body",))

    connection.execute("INSERT INTO event VALUES ('n', 1, 'snow'), ('s', 1, 'sun')")
    drain(database)
    assert stored_chunks(connection, index) == [("n", 1, "snow")]
    connection.execute("DELETE FROM event")
    drain(database)

    assert stored_chunks(connection, index) == []
    assert verify_all(database).ok


def test_an_attached_partition_is_watched_from_then_on(
    connection: psycopg.Connection, index: RegisteredIndex
) -> None:
    connection.execute(EAST)
    connection.execute("ALTER TABLE event ATTACH PARTITION event_east FOR VALUES IN ('e')")
    take_log(connection, index)

    connection.execute("INSERT INTO event_east VALUES ('e', 3, 'x')")
    connection.execute("UPDATE event SET body = 'x' WHERE region = 'e' AND id = 1")
    connection.execute("UPDATE event SET region = 'n', id = 9 WHERE region = 'e' AND id = 2")

    assert take_log(connection, index) == [("e", 3), ("e", 1), ("e", 2), ("n", 9)]


def test_what_a_partition_brings_along_is_found_and_mended_by_verify(
    connection: psycopg.Connection, index: RegisteredIndex, database: str
) -> None:
    connection.execute("UPDATE event SET body = body || '!'")
    drain(database)
    connection.execute(EAST)

    connection.execute("ALTER TABLE event ATTACH PARTITION event_east FOR VALUES IN ('e')")

    with connect(database) as other:
        verdict = verify_index(other, find_index(other, "event_search"), repair=True)
    assert (verdict.missing, verdict.repaired) == (2, 2)
    drain(database)
    assert stored_chunks(connection, index)[:2] == [("e", 1, "dawn"), ("e", 2, "dusk")]
    assert verify_all(database).ok


def test_a_partition_that_changes_while_detached_is_mended_when_it_is_back(
    connection: psycopg.Connection, index: RegisteredIndex, database: str
) -> None:
    connection.execute("UPDATE event SET body = body || '!'")
    connection.execute("INSERT INTO event VALUES ('n', 2, 'ice'), ('n', 3, 'fog')")
    drain(database)
    connection.execute("ALTER TABLE event DETACH PARTITION event_north")

    connection.execute(
        "UPDATE event_north SET body = 'thaw' WHERE id = 2; DELETE FROM event_north WHERE id = 3;"
        "INSERT INTO event_north VALUES ('n', 4, 'hail')"
    )
    assert take_log(connection, index) == []  # it is no part of the source meanwhile
    connection.execute("ALTER TABLE event ATTACH PARTITION event_north FOR VALUES IN ('n')")

    with connect(database) as other:
        verdict = verify_index(other, find_index(other, "event_search"), repair=True)
    assert (verdict.missing, verdict.stale, verdict.orphans) == (1, 1, 1)
    drain(database)
    assert verify_all(database).ok


def test_a_partition_of_a_partition_is_watched_too(
    connection: psycopg.Connection, index: RegisteredIndex
) -> None:
    connection.execute(
        "CREATE TABLE event_rest PARTITION OF event DEFAULT PARTITION BY RANGE (id);"
        "CREATE TABLE event_rest_low PARTITION OF event_rest FOR VALUES FROM (0) TO (10);"
    )

    connection.execute("INSERT INTO event VALUES ('x', 1, 'a')")
    connection.execute("INSERT INTO event_rest VALUES ('x', 2, 'b')")
    connection.execute("INSERT INTO event_rest_low VALUES ('x', 3, 'c')")

    assert take_log(connection, index) == [("x", 1), ("x", 2), ("x", 3)]
