"""Many changes of one row wait: one encode, nothing left, and no other row waits behind them."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from embedsql.registry import RegisteredIndex
from embedsql.slots import Slots
from tests.factories import add_index, create_article_table, drain, stored_chunks, verify_all

MILLION = 1_000_000
MOST_BATCHES = 10  # the changes are folded in the log, not claimed a window at a time


@pytest.fixture
def index(connection: psycopg.Connection) -> RegisteredIndex:
    create_article_table(connection)
    return add_index(connection, text=("title",))


def log_again(connection: psycopg.Connection, index: RegisteredIndex, key: int, times: int) -> None:
    """What so many updates of a text would have logged."""
    slots = Slots(index.spec, index.names)
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) SELECT {} FROM generate_series(1, {})").format(
            slots.log, slots.key_columns, key, times
        )
    )


def logged(connection: psycopg.Connection, index: RegisteredIndex) -> int:
    slots = Slots(index.spec, index.names)
    found = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(slots.log)).fetchone()
    assert found is not None
    return int(found[0])


@pytest.mark.exhaustive
def test_a_million_changes_of_one_row_are_one_encode(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    connection.execute("INSERT INTO article (id, title) VALUES (1, 'the last of them')")
    log_again(connection, index, 1, MILLION)
    connection.execute("INSERT INTO article (id, title) VALUES (2, 'behind them')")

    report = drain(database)

    assert report.embedded == 2
    assert report.batches <= MOST_BATCHES
    assert logged(connection, index) == 0
    assert stored_chunks(connection, index) == [(1, "the last of them"), (2, "behind them")]
    assert verify_all(database).ok


def test_a_row_updated_thousands_of_times_in_one_transaction_is_one_encode(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    connection.execute("INSERT INTO article (id, title) VALUES (1, '0')")
    connection.execute(
        "DO $$ BEGIN FOR n IN 1..5000 LOOP "
        "UPDATE article SET title = n WHERE id = 1; END LOOP; END $$"
    )
    assert logged(connection, index) == 5001

    report = drain(database)

    assert report.embedded == 1
    assert logged(connection, index) == 0
    assert stored_chunks(connection, index) == [(1, "5000")]
    assert verify_all(database).ok
