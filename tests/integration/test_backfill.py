"""Rows that no log row speaks of: those from before the triggers, and those inserted in bulk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from embedsql import declare, status
from embedsql.changelog import Backfill, Batch, ChangeLog
from embedsql.database import connect
from embedsql.ddl.triggers import LOGGED_INSERTS
from embedsql.registry import RegisteredIndex, find_index
from tests.everyday import cases
from tests.factories import (
    HandWorker,
    add_index,
    create_article_table,
    drain,
    stored_chunks,
    take_log,
    until,
    verify_all,
)

ROWS = 10
STORED = "SELECT count(*) FROM article_search"


@pytest.fixture
def index(connection: psycopg.Connection) -> RegisteredIndex:
    """An index on ten articles that were there before it."""
    create_article_table(connection)
    connection.execute(
        "INSERT INTO article (title) SELECT 'title ' || n FROM generate_series(1, %s) AS n", [ROWS]
    )
    return add_index(connection)


@pytest.fixture
def worker(database: str, index: RegisteredIndex) -> Iterator[HandWorker]:
    made = HandWorker(database, index)
    yield made
    made.close()


def keys(batch: Batch | None) -> list[int]:
    return [] if batch is None else sorted(int(key) for key in batch.key_columns[0])


def is_backfilling(connection: psycopg.Connection) -> bool:
    return find_index(connection, "article_search").backfilling


def test_any_worker_goes_on_where_another_stopped(
    connection: psycopg.Connection, index: RegisteredIndex
) -> None:
    first, second = Backfill(index, "first"), Backfill(index, "second")

    found = [keys(one.claim(connection, 4)) for one in (first, second, first, second)]

    assert found == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10], []]
    assert not is_backfilling(connection)


def test_a_backfill_logs_nothing_and_embeds_everything(
    connection: psycopg.Connection, index: RegisteredIndex, database: str, worker: HandWorker
) -> None:
    worker.work()

    assert connection.execute(STORED).fetchone() == (ROWS,)
    sequence = "SELECT is_called FROM embedsql.article_search_log_seq_seq"
    assert connection.execute(sequence).fetchone() == (False,)
    assert verify_all(database).ok


def test_what_changed_comes_first(
    connection: psycopg.Connection, index: RegisteredIndex, worker: HandWorker
) -> None:
    assert keys(worker.next(2)) == [1, 2]
    connection.execute("UPDATE article SET title = 'changed' WHERE id = 9")

    assert keys(worker.next(2)) == [9]
    assert keys(worker.next(2)) == [3, 4]


def test_what_is_stored_claimed_or_dead_is_passed_over(
    connection: psycopg.Connection, index: RegisteredIndex, worker: HandWorker
) -> None:
    connection.execute("UPDATE article SET title = 'changed' WHERE id = 2")
    connection.execute("UPDATE article SET title = 'poison' WHERE id = 4")
    worker.embedder.poison = "poison"
    prepared = worker.ingest.prepare(worker.connection, worker.claim())
    worker.ingest.write(worker.connection, prepared, worker.ingest.embed(prepared))
    connection.execute("UPDATE article SET title = 'claimed' WHERE id = 6")
    assert keys(worker.next()) == [6]

    assert keys(worker.next()) == [1, 3, 5, 7, 8, 9, 10]


def test_keys_that_are_given_back_are_logged(
    connection: psycopg.Connection, index: RegisteredIndex, worker: HandWorker
) -> None:
    batch = worker.claim(3)

    worker.log.release(worker.connection, batch)

    assert take_log(connection, index) == [1, 2, 3]


def test_keys_of_a_dead_worker_are_claimed_again(
    connection: psycopg.Connection, index: RegisteredIndex, database: str, worker: HandWorker
) -> None:
    assert Backfill(index, "dead", lease=-1).claim(connection, 4) is not None

    worker.work()

    assert connection.execute(STORED).fetchone() == (ROWS,)
    assert verify_all(database).ok


def test_a_row_that_is_not_written_is_logged(
    connection: psycopg.Connection, index: RegisteredIndex, database: str, worker: HandWorker
) -> None:
    prepared = worker.ingest.prepare(worker.connection, worker.claim(3))
    worker.ingest.embed(prepared, stopping=lambda: True)  # asked to stop before the first call

    assert worker.write(prepared).saved == 0

    assert take_log(connection, index) == [1, 2, 3]


def test_an_edit_while_it_is_embedded_is_not_forgotten(
    connection: psycopg.Connection, index: RegisteredIndex, database: str, worker: HandWorker
) -> None:
    prepared = worker.embed(ROWS)
    connection.execute("UPDATE article SET title = 'edited' WHERE id = 1")
    connection.execute("DELETE FROM article WHERE id = 2")

    outcome = worker.write(prepared)

    assert (outcome.saved, outcome.gone, outcome.changed_meanwhile) == (ROWS - 2, 1, 1)
    worker.work()
    assert stored_chunks(connection, index)[0] == (1, "edited")
    assert verify_all(database).ok


def test_status_and_verify_count_what_is_still_to_be_found(
    connection: psycopg.Connection, index: RegisteredIndex, database: str, worker: HandWorker
) -> None:
    def counts() -> tuple[int, int]:
        (found,) = status.index_status(connection)
        return found.pending, found.leased

    assert counts() == (ROWS, 0)
    assert (verify_all(database).pending, verify_all(database).missing) == (ROWS, ROWS)
    worker.claim(4)
    assert counts() == (ROWS - 4, 4)
    connection.execute("UPDATE article SET title = 'x' WHERE id = 9")
    assert counts() == (ROWS - 4, 4)
    assert verify_all(database).pending == ROWS
    assert status.index_status(connection)[0].oldest_pending_seconds is not None


def test_what_waits_is_told_without_reading_the_tables(
    connection: psycopg.Connection, index: RegisteredIndex, database: str
) -> None:
    connection.execute("SELECT pg_stat_force_next_flush()")
    until(lambda: status.queue_status(connection)[0].pending == ROWS)
    with connect(database) as other, other.transaction():
        for table in ("article", f"embedsql.{index.names.row}", f"embedsql.{index.names.chunk}"):
            other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        connection.execute("SET lock_timeout = '1s'")
        (found,) = status.queue_status(connection)
    assert (found.pending, found.leased, found.dead, found.problem) == (ROWS, 0, 0, None)
    assert found.oldest_pending_seconds is not None


ORDERS = {
    "text": ("text", ["b", "B", "a", "Z", "ä", ""]),
    'text COLLATE "C"': ('text COLLATE "C"', ["b", "B", "a", "Z", "ä", ""]),
    "citext": ("citext", ["b", "A", "c", "D", "e"]),
    "numeric": ("numeric(6,2)", ["-1.5", "0", "10", "9", "2.25"]),
    "uuid": ("uuid", [f"{n}0000000-0000-0000-0000-00000000000{9 - n}" for n in range(6)]),
    "enum": ("mood", ["zest", "calm", "awe"]),
    "domain": ("number_of_it", ["10", "9", "-1"]),
    "padded": ("character(3)", ["a", "b", "B", "ä"]),
    "domain of an extension's": ("short_name", ["a", "B", "c", "D"]),
}
KINDS = """
CREATE EXTENSION IF NOT EXISTS citext;
CREATE TYPE mood AS ENUM ('zest', 'calm', 'awe');
CREATE DOMAIN number_of_it AS int;
CREATE DOMAIN short_name AS citext CHECK (length(value) < 9);
"""


@pytest.mark.parametrize("kind", cases(ORDERS, *list(ORDERS)[::2]))
def test_every_key_is_found_whatever_order_its_type_has(
    connection: psycopg.Connection, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql_type, values = ORDERS[kind]
    connection.execute(KINDS)
    connection.execute(
        f"CREATE TABLE note (part int, id {sql_type}, body text, PRIMARY KEY (id, part))".encode()
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO note VALUES (%s, %s, 'x')",
            [(part, value) for value in values for part in (1, 2)],
        )
    index = add_index(connection, "note", text=("body",))
    monkeypatch.setattr("embedsql.changelog.backfill.LONGEST_WINDOW", 1)
    backfill = Backfill(index, "a")

    found: list[tuple[str, ...]] = []
    while (batch := backfill.claim(connection, 3)) is not None:
        found += zip(*batch.key_columns, strict=True)

    there = connection.execute("SELECT id::text, part::text FROM note").fetchall()
    assert sorted(found) == sorted(there)


@pytest.mark.parametrize("kind", ["number_of_it", "character(9)"])
def test_a_backfill_reads_by_the_index_of_the_key(
    connection: psycopg.Connection, kind: str
) -> None:
    connection.execute(KINDS)
    connection.execute(f"CREATE TABLE note (id {kind} PRIMARY KEY, body text)".encode())
    connection.execute("INSERT INTO note SELECT n, 'x' FROM generate_series(1, 5000) AS n")
    backfill = Backfill(add_index(connection, "note", text=("body",)), "a")
    connection.execute("VACUUM ANALYZE note")
    before = entries_read(connection, "note_pkey")

    for _ in range(3):
        assert backfill.claim(connection, 100)

    assert entries_read(connection, "note_pkey") - before < 1000


def entries_read(connection: psycopg.Connection, index: str) -> int:
    connection.execute("SELECT pg_stat_force_next_flush()")
    found = connection.execute(
        "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = %s", [index]
    ).fetchone()
    assert found is not None
    return int(found[0])


INSERT = "INSERT INTO article (title) SELECT 'new ' || n FROM generate_series(1, %s) AS n"
MANY = LOGGED_INSERTS + 7


def test_a_transaction_logs_only_so_many_inserted_rows_and_loses_none(
    connection: psycopg.Connection, index: RegisteredIndex, database: str
) -> None:
    drain(database)
    with connection.transaction():
        connection.execute(INSERT, [MANY - 1])
        connection.execute(INSERT, [1])

    assert len(take_log(connection, index)) == LOGGED_INSERTS
    assert is_backfilling(connection)
    assert status.index_status(connection)[0].pending == MANY
    drain(database)
    assert connection.execute(STORED).fetchone() == (ROWS + MANY,)
    assert verify_all(database).ok


def test_the_next_transaction_of_the_session_logs_again(
    connection: psycopg.Connection, index: RegisteredIndex, database: str
) -> None:
    drain(database)
    connection.execute(INSERT, [MANY])
    take_log(connection, index)

    connection.execute(INSERT, [2])

    assert len(take_log(connection, index)) == 2


def test_a_transaction_that_is_older_than_the_index_loses_no_row_either(
    connection: psycopg.Connection, database: str
) -> None:
    create_article_table(connection)
    with psycopg.connect(database) as older:
        older.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        older.execute("SELECT")  # its snapshot, in which the index is not registered
        worker = HandWorker(database, add_index(connection))
        worker.work()
        older.execute(INSERT, [MANY])
    worker.work()
    worker.close()

    assert connection.execute(STORED).fetchone() == (MANY,)
    assert verify_all(database).ok


def test_rows_inserted_in_bulk_while_an_index_is_added_are_found(
    connection: psycopg.Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_article_table(connection)
    count_rows = declare._count_rows

    def count_late(*given: Any) -> tuple[int, bool]:
        counted = count_rows(*given)
        worker = HandWorker(database, find_index(connection, "article_search"))
        assert worker.next() is None  # the backfill of an empty table is over
        connection.execute(INSERT, [MANY])
        batch = worker.backfill.claim(worker.connection, 1)  # and another has begun
        assert batch is not None
        worker.log.release(worker.connection, batch)
        worker.close()
        return counted

    monkeypatch.setattr(declare, "_count_rows", count_late)
    add_index(connection)
    drain(database)

    assert connection.execute(STORED).fetchone() == (MANY,)


@pytest.mark.parametrize("kept", [True, False])
def test_a_savepoint_that_is_rolled_back_takes_the_note_with_it(
    connection: psycopg.Connection, index: RegisteredIndex, database: str, kept: bool
) -> None:
    drain(database)
    with connection.transaction():
        with connection.transaction(force_rollback=not kept):
            connection.execute(INSERT, [MANY])
        connection.execute(INSERT, [3])

    assert is_backfilling(connection) is kept
    logged = connection.execute("SELECT count(*) FROM embedsql.article_search_log").fetchone()
    assert logged == (LOGGED_INSERTS if kept else 3,)
    drain(database)
    assert verify_all(database).ok


@pytest.mark.exhaustive
def test_rows_inserted_in_bulk_by_a_trigger_of_another_bulk_insert_are_found(
    connection: psycopg.Connection, index: RegisteredIndex, database: str
) -> None:
    connection.execute("CREATE TABLE note (id bigint PRIMARY KEY, body text)")
    add_index(connection, "note", text=("body",))
    add_index(connection, "note", text=("body",), name="second_search", lexical=None)
    drain(database)
    connection.execute(
        "CREATE FUNCTION copy_note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO note VALUES (NEW.id, NEW.title); RETURN NEW; END $$;"
        "CREATE TRIGGER copy_note BEFORE INSERT ON article "
        "FOR EACH ROW EXECUTE FUNCTION copy_note()"
    )

    connection.execute(INSERT, [MANY])
    drain(database)

    for view, rows in (("article", MANY + ROWS), ("note", MANY), ("second", MANY)):
        counted = connection.execute(f"SELECT count(*) FROM {view}_search".encode()).fetchone()
        assert counted == (rows,)
    assert verify_all(database).ok


def test_a_bulk_insert_during_a_backfill_starts_another(
    connection: psycopg.Connection, index: RegisteredIndex, database: str, worker: HandWorker
) -> None:
    worker.claim(8)
    connection.execute("INSERT INTO article (id, title) SELECT -n, n FROM generate_series(1, 9) n")
    with connection.transaction():
        connection.execute(
            "INSERT INTO article (id, title) SELECT -n, n FROM generate_series(10, %s) n",
            [MANY + 9],
        )
    take_log(connection, index)  # as though nothing had been logged at all

    found = 0
    backfill = Backfill(index, "other")
    while (batch := backfill.claim(connection, 500)) is not None:
        found += len(batch)

    assert found == 2 + MANY + 9
    assert len(take_log(connection, index)) == 10  # what was in hand when the second began
    log = ChangeLog(index, "other")
    connection.execute("DELETE FROM embedsql.article_search_batch")
    assert log.is_empty(connection)
