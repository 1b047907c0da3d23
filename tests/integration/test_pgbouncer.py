"""Workers and searches through PgBouncer in transaction mode: no session state, and no LISTEN."""

from __future__ import annotations

import contextlib
import logging
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import event
from sqlalchemy.engine import Engine

from embedsql.database import connect
from embedsql.embedded.account import server_account
from embedsql.errors import DatabaseError
from embedsql.registered import RegisteredSearch
from embedsql.registry import find_index
from embedsql.vector_index import rebuild_vector_indexes
from embedsql.worker import Worker, WorkerOptions
from tests.factories import add_index, create_article_table, drain, verify_all
from tests.migration.application import Application
from tests.servers import as_server_account

BINARY = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
pytestmark = pytest.mark.skipif(BINARY is None, reason="there is no pgbouncer on PATH")

CONFIGURATION = """
[databases]
* = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 2
reserve_pool_size = 0
server_reset_query_always = 0
logfile = {folder}/pgbouncer.log
"""


@pytest.fixture
def pooled(database: str) -> Iterator[str]:
    """The fresh database through two pooled connections, fewer than a worker alone opens."""
    with pooler(database, "transaction") as url:
        yield url


@contextlib.contextmanager
def pooler(database: str, mode: str) -> Iterator[str]:
    assert BINARY is not None
    found = conninfo_to_dict(database)
    server = {key: found[key] for key in ("host", "port", "user", "password") if found.get(key)}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="embedsql-pgbouncer-") as parent:
        Path(parent).chmod(0o755)
        folder = Path(parent) / "own"
        server_account().make_private_folder(folder)
        file = folder / "pgbouncer.ini"
        file.write_text(
            CONFIGURATION.format(
                server=make_conninfo("", **server), port=port, folder=folder, mode=mode
            )
        )
        file.chmod(0o644)
        with subprocess.Popen(
            [BINARY, "--quiet", str(file)], stderr=subprocess.DEVNULL, **as_server_account()
        ) as process:
            url = make_conninfo(
                database, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable"
            )
            try:
                eventually(lambda: answers(url))
                yield url
            finally:
                process.terminate()


def answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def eventually(condition: Callable[[], bool], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.05)


@pytest.fixture
def article(connection: psycopg.Connection) -> psycopg.Connection:
    """Six hundred articles, several batches of them, on a connection that goes past the pooler."""
    create_article_table(connection)
    add_index(connection)
    connection.execute(
        "INSERT INTO article (title) SELECT 'text ' || n FROM generate_series(1, 600) AS n"
    )
    return connection


def test_the_pooler_gives_each_transaction_any_session(pooled: str) -> None:
    # the control: what a session keeps is not there, or is another's
    with psycopg.connect(pooled) as one, psycopg.connect(pooled) as other:
        one.execute("SET application_name = 'mine'")
        pids = {one.execute("SELECT pg_backend_pid()").fetchone()}
        one.commit()
        other.execute("SELECT pg_sleep(0)")
        pids.add(other.execute("SELECT pg_backend_pid()").fetchone())
        other.commit()
        one.execute("LISTEN embedsql")
        one.commit()
        other.execute("NOTIFY embedsql")
        other.commit()
        assert list(one.notifies(timeout=0.5)) == []


def test_a_worker_drains_through_a_pooler(
    article: psycopg.Connection, database: str, pooled: str
) -> None:
    report = drain(pooled, batch_size=40)

    assert (report.saved, report.problems) == (600, {})
    article.execute("UPDATE article SET title = title || '!' WHERE id % 3 = 0")
    article.execute("DELETE FROM article WHERE id % 3 = 1")
    assert drain(pooled, batch_size=7).removed == 200
    assert verify_all(database).ok


def test_a_worker_follows_live_changes_through_a_pooler(
    article: psycopg.Connection, database: str, pooled: str
) -> None:
    worker = Worker(pooled, WorkerOptions(batch_size=40, poll_interval=0.2))
    errors: list[BaseException] = []

    def work() -> None:
        try:
            worker.run()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for turn in range(8):
            article.execute("UPDATE article SET title = title || %s WHERE id %% 7 = 0", [str(turn)])
            article.execute("INSERT INTO article (title) VALUES ('another')")
            article.execute("DELETE FROM article WHERE id = %s", [turn + 1])
            eventually(lambda: bool(errors) or verify_all(database).ok)
            assert errors == []
    finally:
        worker.stop()
        thread.join()
    assert errors == []
    assert worker.report.problems == {}


def test_searches_through_a_pooler_find_what_they_find_without(
    article: psycopg.Connection, database: str, pooled: str
) -> None:
    drain(database)
    # both exactly: between them the planner may find that the graph is worth asking, or not
    graph = find_index(article, "article_search").names.vector_index
    article.execute(sql.SQL("DROP INDEX embedsql.{}").format(sql.Identifier(graph)))

    def scores(url: str) -> list[object]:
        found: list[object] = []
        with (
            RegisteredSearch(url, "article_search") as one,
            RegisteredSearch(url, "article_search") as other,
        ):
            for number in range(12):  # often enough for a driver to prepare the statement
                for mode in ("dense", "lexical", "hybrid"):
                    for search in (one, other):  # each of which calls its own by the same name
                        hits = search.search(f"text {number}", mode=mode).hits
                        # ties may come in any order
                        found.append([round(hit.score, 9) for _, hit in hits])
        return found

    assert scores(pooled) == scores(database)


def test_settings_of_a_search_do_not_leak_to_the_pools_next_client(
    article: psycopg.Connection, database: str, pooled: str
) -> None:
    drain(database)
    with RegisteredSearch(pooled, "article_search") as search:
        assert len(search.search("text", mode="dense", limit=50).hits) == 50

    with connect(pooled) as next_client:
        for setting in ("hnsw.ef_search", "hnsw.iterative_scan", "row_security", "search_path"):
            shown = next_client.execute(f"SHOW {setting}".encode()).fetchone()
            with psycopg.connect(database) as fresh:
                fresh.execute("SELECT '[1]'::vector")  # which loads the extension's settings
                assert shown == fresh.execute(f"SHOW {setting}".encode()).fetchone()


REVISION = (
    'op.rebuild_vector_index("article_search", "article", key={"id": "bigint"}, '
    'text=["title", "body"], model="hash:64", dimensions=64)'
)
Build = Callable[[str, Path, Callable[[], None]], None]


def by_command(pooled: str, folder: Path, before: Callable[[], None]) -> None:
    def told(record: logging.LogRecord) -> bool:
        before()
        return True

    builds = logging.getLogger("embedsql.vector_index")
    builds.addFilter(told)
    builds.setLevel(logging.INFO)
    try:
        with connect(pooled) as builder:
            rebuild_vector_indexes(builder, find_index(builder, "article_search"))
    finally:
        builds.removeFilter(told)
        builds.setLevel(logging.NOTSET)


def by_revision(pooled: str, folder: Path, before: Callable[[], None]) -> None:
    def told(connection: Any, cursor: Any, statement: str, *others: Any) -> None:
        if statement.startswith("CREATE INDEX CONCURRENTLY"):
            before()

    application = Application(folder, pooled)
    application.write(REVISION, imports="import embedsql.alembic")
    event.listen(Engine, "before_cursor_execute", told)
    try:
        application.upgrade()
    finally:
        event.remove(Engine, "before_cursor_execute", told)


@pytest.mark.parametrize("build", [by_command, by_revision])
def test_what_a_build_sets_for_itself_it_does_not_set_for_other_clients(
    article: psycopg.Connection, database: str, pooled: str, tmp_path: Path, build: Build
) -> None:
    drain(database)
    usual = sql.SQL("ALTER DATABASE {} SET statement_timeout = '5min'")
    article.execute(usual.format(sql.Identifier(article.info.dbname)))
    article.execute(  # the pooler's, which began before
        "SELECT pg_terminate_backend(pid, 9000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with psycopg.connect(pooled) as one, psycopg.connect(pooled) as other:
        looks = []

        def held(client: psycopg.Connection) -> str:
            (found,) = client.execute("SHOW statement_timeout").fetchone() or ("",)
            return str(found)

        def keep_what_was_changed() -> None:
            """Hold the server of the build's settings, so that they are taken back elsewhere."""
            looks.append([(one, held(one)), (other, held(other))])
            for client, timeout in looks[-1]:
                if timeout == "5min":
                    client.commit()

        build(pooled, tmp_path, keep_what_was_changed)

        one.commit()
        other.commit()
        assert looks
        assert [held(one), held(other)] == ["5min", "5min"]


def test_a_pooler_that_carries_no_transactions_is_refused(database: str) -> None:
    with (
        pooler(database, "statement") as url,
        pytest.raises(DatabaseError, match="set its pool_mode to transaction or session"),
    ):
        connect(url)
