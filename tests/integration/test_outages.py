"""What keeps a worker from a database, or from one table of it, for a while."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import sql

from embedsql import registry
from embedsql.changelog import ChangeLog
from embedsql.database import connect
from embedsql.errors import SchemaVersionError
from embedsql.installation import uninstall
from embedsql.registry import RegisteredIndex
from embedsql.vectors import Ivfflat
from embedsql.worker import Worker, WorkerOptions
from embedsql.worker.heartbeat import Heartbeat
from embedsql.worker.leases import LeaseKeeper
from embedsql.worker.report import WorkerReport
from tests.everyday import cases
from tests.factories import (
    HandWorker,
    add_index,
    create_article_table,
    drain,
    stored_chunks,
    until,
    verify_all,
)

HOLD_CLAIMS = f"SELECT pg_advisory_xact_lock({0x65_6D_62_73}, %s)"


@contextlib.contextmanager
def working(database: str) -> Iterator[threading.Thread]:
    worker = Worker(database, WorkerOptions(poll_interval=0.1, queries=False))
    running = threading.Thread(target=worker.run)
    running.start()
    try:
        yield running
    finally:
        worker.stop()
        running.join()


def set_option(connection: psycopg.Connection, option: str, value: str) -> None:
    """For whoever connects to the database from now on."""
    connection.execute(
        sql.SQL("ALTER DATABASE {} SET {} = {}").format(
            sql.Identifier(connection.info.dbname), sql.Identifier(option), sql.Literal(value)
        )
    )


@pytest.fixture
def index(connection: psycopg.Connection) -> RegisteredIndex:
    """One row, logged."""
    create_article_table(connection)
    made = add_index(connection, text=("body",))
    connection.execute("INSERT INTO article (id, body) VALUES (1, 'old')")
    return made


def test_a_table_that_is_loaded_anew_in_one_transaction_keeps_no_other_index_waiting(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    connection.execute("CREATE TABLE note (id int PRIMARY KEY, body text)")
    note = add_index(connection, "note", text=("body",))
    drain(database)
    with working(database), connect(database) as loader, loader.transaction():
        loader.execute("TRUNCATE article")  # and all tables of its index
        loader.execute("INSERT INTO article (id, body) VALUES (1, 'new')")
        for key in range(3):
            connection.execute("INSERT INTO note VALUES (%s, 'free')", [key])
            until(lambda count=key + 1: len(stored_chunks(connection, note)) == count)  # type: ignore[misc]
    drain(database)

    assert stored_chunks(connection, index) == [(1, "new")]
    assert verify_all(database).ok


@pytest.mark.parametrize("measured", cases([False, True], True))
def test_a_migration_that_holds_an_index_keeps_no_other_index_waiting(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, measured: bool
) -> None:
    connection.execute("CREATE TABLE note (id int PRIMARY KEY, body text)")
    note = add_index(connection, "note", text=("body",))
    if measured:
        drain(database)
    with working(database), connect(database) as migration, migration.transaction():
        migration.execute(
            "UPDATE embedsql.semantic_index SET tuning = tuning WHERE name = 'article_search'"
        )
        connection.execute("INSERT INTO embedsql.bulk_insert VALUES ('article_search', 1)")
        connection.execute("SET lock_timeout = '3s'")
        registry.set_problem(connection, index.index_id, "none, but nobody waits to say so")
        for key in range(3):
            connection.execute("INSERT INTO note VALUES (%s, 'free')", [key])
            until(lambda count=key + 1: len(stored_chunks(connection, note)) == count)  # type: ignore[misc]
    drain(database)

    assert stored_chunks(connection, index) == [(1, "old")]
    assert verify_all(database).ok


def test_a_problem_is_noted_though_somebody_writes_to_the_row_just_then(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    waits = "SELECT FROM pg_locks WHERE NOT granted"
    with ThreadPoolExecutor(1) as pool, connect(database) as other:
        with other.transaction():
            other.execute("UPDATE embedsql.semantic_index SET tuning = tuning")
            noting = pool.submit(registry.set_problem, connection, index.index_id, "no model")
            until(lambda: noting.done() or other.execute(waits).rowcount == 1)
        noting.result()
    assert registry.find_index(connection, "article_search").problem == "no model"


def test_leases_are_renewed_while_another_index_is_being_dropped(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    connection.execute("CREATE TABLE note (id int PRIMARY KEY, body text)")
    note = add_index(connection, "note", text=("body",))
    connection.execute("INSERT INTO note VALUES (1, 'text')")
    logs = [ChangeLog(one, "a") for one in (index, note)]
    leased = "SELECT leased_until FROM embedsql.note_search_batch"
    beat = Heartbeat("a", WorkerReport())
    with (
        LeaseKeeper(lambda: connect(database), 0.1, beat) as keeper,
        contextlib.ExitStack() as held,
    ):
        for log in logs:
            batch = log.claim(connection, 1)
            assert batch is not None
            held.enter_context(keeper.held(log, batch))
        with connect(database) as migration, migration.transaction():
            migration.execute("DROP TABLE embedsql.article_search_batch")
            first = connection.execute(leased).fetchone()
            for _ in range(2):  # the first may have been under way
                until(lambda before=first: connection.execute(leased).fetchone() != before)  # type: ignore[misc]
                first = connection.execute(leased).fetchone()


def test_what_was_logged_is_given_back_while_the_log_is_locked(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    worker = HandWorker(database, index)
    batch = worker.claim()
    with connection.transaction():
        connection.execute("LOCK TABLE embedsql.article_search_log IN ACCESS EXCLUSIVE MODE")
        worker.log.release(worker.connection, batch)
    assert worker.claim().versions == batch.versions
    worker.close()


def test_a_worker_outlasts_a_time_in_which_the_database_is_read_only(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    set_option(connection, "default_transaction_read_only", "on")
    refused = (
        "SELECT FROM pg_stat_database WHERE datname = current_database() AND xact_rollback > %s"
    )
    with working(database) as running:
        connection.execute("SELECT pg_stat_force_next_flush()")
        until(lambda: connection.execute(refused, [3]).rowcount == 1)
        assert running.is_alive()
        set_option(connection, "default_transaction_read_only", "off")
        until(lambda: stored_chunks(connection, index) == [(1, "old")])


def test_a_worker_that_is_stopped_during_an_outage_ends_as_at_any_time(
    connection: psycopg.Connection,
    database: str,
    index: RegisteredIndex,
    caplog: pytest.LogCaptureFixture,
) -> None:
    set_option(connection, "default_transaction_read_only", "on")
    worker = Worker(database, WorkerOptions(poll_interval=0.1, queries=False))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(worker.run)
        until(lambda: caplog.text.count("went away") > 2)

        worker.stop()

        assert running.result(timeout=60).saved == 0


@pytest.mark.parametrize(
    "option",
    cases(["transaction_timeout", "statement_timeout", "lock_timeout"], "transaction_timeout"),
)
def test_a_worker_outlasts_a_time_in_which_it_can_claim_nothing(
    connection: psycopg.Connection,
    database: str,
    index: RegisteredIndex,
    option: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if option == "transaction_timeout" and connection.info.server_version < 170000:
        pytest.skip("transactions have no time-out before PostgreSQL 17")
    set_option(connection, option, "200ms")
    with working(database) as running:
        with connect(database) as claimer, claimer.transaction():
            claimer.execute(sql.SQL("SET LOCAL {} = 0").format(sql.Identifier(option)))
            claimer.execute(HOLD_CLAIMS, [index.index_id])
            until(lambda: "timeout" in caplog.text)
            time.sleep(0.5)
            assert running.is_alive()
            # a connection is given up only where it is lost
            assert ("went away" in caplog.text) == (option == "transaction_timeout")
        until(lambda: stored_chunks(connection, index) == [(1, "old")])


def test_a_database_in_which_backslashes_escape_is_worked_on(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    set_option(connection, "standard_conforming_strings", "off")

    assert drain(database).saved == 1
    assert verify_all(database).ok


def test_a_worker_ends_with_a_clear_error_where_the_schema_is_removed_under_it(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    worker = Worker(database, WorkerOptions(poll_interval=0.1))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(worker.run)
        until(lambda: stored_chunks(connection, index) != [])
        uninstall(connection)
        with pytest.raises(SchemaVersionError, match="not installed in the database"):
            running.result()


def test_a_vector_index_that_cannot_be_built_is_not_tried_on_and_on(
    connection: psycopg.Connection, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    create_article_table(connection)
    lists = Ivfflat(lists=30_000)  # more than there is memory for
    add_index(connection, index="ivfflat", ivfflat=lists, model="hash:1000", dimensions=1000)
    connection.execute("INSERT INTO article (title) VALUES ('one')")
    set_option(connection, "maintenance_work_mem", "1MB")
    worker = Worker(database, WorkerOptions(drain=True))

    running = threading.Thread(target=worker.run)
    running.start()
    try:
        until(lambda: not running.is_alive())
    finally:
        worker.stop()
        running.join()

    assert worker.report.saved == 1
    assert "memory required" in worker.report.problems["article_search"]
    assert caplog.text.count("was not built") == 1
