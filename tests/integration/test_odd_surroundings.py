"""Applications, roles and servers with ways of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import embedsql
from embedsql.database import connect
from embedsql.declare import drop_index
from embedsql.drift import find_drift
from embedsql.errors import DatabaseError, ExtensionError
from embedsql.installation import install
from embedsql.registry import find_index, set_problem
from embedsql.status import index_status
from embedsql.verify import verify_index
from embedsql.worker import Worker, WorkerOptions
from tests.factories import (
    HandWorker,
    RecordingEmbedder,
    add_index,
    create_article_table,
    drain,
    verify_all,
)


@pytest.mark.exhaustive
def test_serializable_transactions_on_different_rows_do_not_conflict(
    connection: psycopg.Connection, database: str
) -> None:
    create_article_table(connection)
    connection.execute("INSERT INTO article (body) SELECT n::text FROM generate_series(1, 9000) n")
    connection.execute("ANALYZE article")
    add_index(connection, text=("body",))
    drain(database)
    with connect(database) as one, connect(database) as other:
        for key in range(1, 20):
            connection.execute("DELETE FROM embedsql.article_search_log")  # a worker keeps up
            for each in (one, other):
                each.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")
            one.execute("UPDATE article SET body = 'x' WHERE id = %s", [key])
            other.execute("UPDATE article SET body = 'x' WHERE id = %s", [8000 + key])
            for each in (one, other):
                each.execute("COMMIT")


def test_a_worker_that_stands_still_in_a_transaction_is_cut_off(
    connection: psycopg.Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_article_table(connection)
    worker = HandWorker(database, add_index(connection))
    connection.execute("INSERT INTO article (title) VALUES ('a')")
    found: list[Any] = []
    for holder in (worker.log, worker.ingest._vectors):
        plain = holder.fence if hasattr(holder, "fence") else holder._save

        def asked(hand: psycopg.Connection, *given: Any, plain: Any = plain) -> Any:
            found.append(hand.execute("SHOW idle_in_transaction_session_timeout").fetchone())
            return plain(hand, *given)

        monkeypatch.setattr(holder, plain.__name__, asked)
    worker.work()
    worker.close()

    assert found == [("30s",), ("30s",)]


def test_a_worker_outlives_an_index_and_then_its_connections(
    connection: psycopg.Connection, database: str
) -> None:
    create_article_table(connection)
    add_index(connection, text=("body",))
    add_index(connection, text=("title",), name="other")
    connection.execute("INSERT INTO article (title, body) VALUES ('a', 'b')")
    worker = Worker(database, WorkerOptions(queries=False, poll_interval=0.05))
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        _until_embedded(connection, 1)
        drop_index(connection, "other")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'embedsql worker' AND datname = current_database()"
        )
        connection.execute("INSERT INTO article (body) VALUES ('c')")
        _until_embedded(connection, 2)
    finally:
        worker.stop()
        thread.join()


def _until_embedded(connection: psycopg.Connection, rows: int) -> None:
    for _ in range(600):
        if connection.execute("SELECT FROM article_search").rowcount == rows:
            return
        time.sleep(0.05)
    raise AssertionError("nothing was embedded")


@pytest.mark.parametrize("logged", [True, False])
def test_a_floating_point_key_goes_to_a_worker_and_back_whatever_its_role_prints(
    connection: psycopg.Connection, database: str, logged: bool
) -> None:
    connection.execute("CREATE TABLE article (id float8 PRIMARY KEY, body text)")
    insert = "INSERT INTO article VALUES (0.1::float8 + 0.2::float8, 'x')"
    if not logged:
        connection.execute(insert)
    add_index(connection, text=("body",))
    if logged:
        connection.execute(insert)

    report = drain(make_conninfo(database, options="-c extra_float_digits=0"))

    assert (report.saved, report.removed) == (1, 0)
    assert verify_all(database).ok


@pytest.fixture
def latin(connection: psycopg.Connection) -> Iterator[str]:
    """A database whose encoding has neither ellipses nor quotation marks."""
    connection.execute(
        "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE_PROVIDER libc LOCALE 'C'"
    )
    yield make_conninfo(connection.info.dsn, dbname="latin")
    connection.execute("DROP DATABASE latin WITH (FORCE)")


def test_an_error_in_words_that_the_database_does_not_have_is_kept(latin: str) -> None:
    with connect(latin) as connection:
        install(connection)
        create_article_table(connection)
        index = add_index(connection, text=("body",))
        connection.execute("INSERT INTO article (body) VALUES ('poison'), ('good')")
        embedder = RecordingEmbedder("poison", ValueError("not this … “poison”"))
        worker = HandWorker(latin, index, embedder=embedder)
        worker.work()
        worker.close()

        found = connection.execute("SELECT error FROM embedsql.failure").fetchall()
        assert found == [("not this ? ?poison?",)]
        assert connection.execute("SELECT FROM article_search").rowcount == 2


def test_a_problem_in_words_that_the_database_does_not_have_is_kept(latin: str) -> None:
    with connect(latin) as connection:
        install(connection)
        create_article_table(connection)
        index = add_index(connection)

        set_problem(connection, index.index_id, "no “key” … \0")

        (status,) = index_status(connection)
        assert status.problem == "no ?key? ? "


def test_no_statement_needs_more_than_ascii() -> None:
    for file in Path(embedsql.__file__).parent.rglob("*.sql"):
        assert file.read_text("utf-8").isascii(), file


def test_an_owner_from_whom_a_policy_hides_rows_leaves_them_to_the_worker(
    connection: psycopg.Connection, database: str
) -> None:
    create_article_table(connection)
    connection.execute("INSERT INTO article (body) VALUES ('a'), ('b')")
    connection.execute(
        "CREATE ROLE forced_owner LOGIN; GRANT CREATE ON SCHEMA public TO forced_owner;"
        "GRANT ALL ON SCHEMA embedsql TO forced_owner;"
        "GRANT ALL ON ALL TABLES IN SCHEMA embedsql TO forced_owner;"
        "ALTER TABLE article OWNER TO forced_owner, ENABLE ROW LEVEL SECURITY,"
        "    FORCE ROW LEVEL SECURITY; CREATE POLICY none ON article USING (false)"
    )
    try:
        with connect(make_conninfo(database, user="forced_owner")) as owner:
            add_index(owner, text=("body",))
        drain(database)
        assert verify_all(database).ok
    finally:
        connection.execute("DROP OWNED BY forced_owner CASCADE; DROP ROLE forced_owner")


def test_a_table_that_took_the_others_name_has_no_triggers(connection: psycopg.Connection) -> None:
    create_article_table(connection)
    index = add_index(connection, text=("body",))
    connection.execute("CREATE TABLE article_new (LIKE article INCLUDING ALL)")
    connection.execute("ALTER TABLE article RENAME TO article_old")
    connection.execute("ALTER TABLE article_new RENAME TO article")

    (words,) = find_drift(connection, index)
    assert "are gone" in words


def test_a_table_that_became_a_partition_is_told(connection: psycopg.Connection) -> None:
    connection.execute("CREATE TABLE article (id int PRIMARY KEY, body text)")
    index = add_index(connection, text=("body",))
    connection.execute(
        "CREATE TABLE every (id int PRIMARY KEY, body text) PARTITION BY RANGE (id);"
        "ALTER TABLE every ATTACH PARTITION article FOR VALUES FROM (0) TO (9)"
    )

    (words,) = find_drift(connection, index)
    assert "is a partition" in words


def test_a_repair_beside_a_worker_is_tried_again(
    connection: psycopg.Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_article_table(connection)
    add_index(connection, text=("body",))
    connection.execute("INSERT INTO article (body) SELECT n::text FROM generate_series(1, 9) n")
    drain(database)
    connection.execute("UPDATE embedsql.article_search_row_1 SET input_hash = '' WHERE key_1 < 5")
    connection.execute("UPDATE article SET body = 'other' WHERE id = 1")
    worker = HandWorker(database, find_index(connection, "article_search"))
    prepared = [worker.embed()]

    class Raced(psycopg.Connection[Any]):
        def execute(self, *given: Any, **named: Any) -> Any:
            found = super().execute(*given, **named)
            if "count(*)" in str(given[0]) and prepared:  # a worker writes after the look
                worker.write(prepared.pop())
            return found

    with Raced.connect(database, autocommit=True) as raced:
        verdict = verify_index(raced, find_index(connection, "article_search"), repair=True)
    worker.close()

    assert prepared == []
    assert verdict.repaired == 3


def test_a_database_without_an_encoding_is_refused_until_one_is_named(
    connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute(
        "CREATE DATABASE bytes ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE_PROVIDER libc "
        "LOCALE 'C'"
    )
    info = make_conninfo(connection.info.dsn, dbname="bytes")
    try:
        with pytest.raises(DatabaseError, match="set PGCLIENTENCODING=UTF8"):
            connect(info)

        monkeypatch.setenv("PGCLIENTENCODING", "UTF8")

        with connect(info) as named:
            install(named)
            create_article_table(named)
            add_index(named)
            named.execute("INSERT INTO article (title) VALUES ('Größe')")
        assert drain(info).saved == 1
        assert verify_all(info).ok
    finally:
        connection.execute("DROP DATABASE bytes WITH (FORCE)")


def test_a_worker_that_does_not_find_pgvector_says_so(
    connection: psycopg.Connection, database: str
) -> None:
    create_article_table(connection)
    add_index(connection)

    with pytest.raises(ExtensionError, match="search_path"):
        drain(make_conninfo(database, options="-c search_path=pg_catalog"))
