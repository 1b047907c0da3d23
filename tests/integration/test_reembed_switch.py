"""Searches while an index passes to another model: none fails, mixes spaces or loses a row."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, get_args

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from embedsql import IndexSpec, ModelChangeError, SemanticIndex
from embedsql.cli import app
from embedsql.database import connect, engine
from embedsql.reembed import ModelChange, start
from embedsql.reembed import switch as switching
from embedsql.registered import RegisteredSearch
from embedsql.registry import RegisteredIndex, find_index
from embedsql.search import Mode
from embedsql.worker import Worker, WorkerOptions
from tests.answering import eventually
from tests.everyday import cases
from tests.factories import add_index, create_article_table, drain, stored_chunks, until, verify_all
from tests.integration.test_grants import HARDENED, as_role, role
from tests.integration.test_search import Article

__all__ = ["role"]

NAME = "article_search"
ROWS = 40
PATIENCE = 0.4
OPTIONS = WorkerOptions(poll_interval=0.05)
OLD = SemanticIndex(NAME, Article, text=("title", "body"), model="hash:64")


def another_space(spec: IndexSpec) -> IndexSpec:
    """The same dimensions and types: only the prompts, and so the space, differ."""
    return replace(spec, query_prompt="marker marker ", document_prompt="marker marker ")


def another_type(spec: IndexSpec) -> IndexSpec:
    return replace(spec, model="hash:96", dimensions=96, quantization="halfvec")


CHANGES = [another_space, another_type]


@pytest.fixture
def index(connection: psycopg.Connection, database: str) -> RegisteredIndex:
    create_article_table(connection)
    made = add_index(connection)
    connection.execute(
        "INSERT INTO article (id, body) SELECT * FROM unnest(%s::bigint[], %s::text[])",
        [list(range(1, ROWS + 1)), [text_of(key) for key in range(1, ROWS + 1)]],
    )
    drain(database)
    return made


@pytest.fixture
def change(database: str, index: RegisteredIndex) -> Iterator[ModelChange]:
    with ModelChange(database, NAME, OPTIONS) as opened:
        yield opened


def make_ready(change: ModelChange, spec: IndexSpec) -> None:
    change.begin(spec)
    change.fill()
    change.accept()


def text_of(key: int) -> str:
    """Unlike any other in whichever space: the hash embedder has few dimensions."""
    return " ".join(f"word{key}x{number}" for number in range(8))


class Load:
    """Searches and writes on end; every search looks for a row that never changes."""

    def __init__(self, database: str) -> None:
        self.searches = 0
        self.writes = 0
        self._database = database
        self._over = threading.Event()

    def run(self, busy: Callable[[], None]) -> None:
        """Meanwhile, do ``busy``."""
        with ThreadPoolExecutor(4) as pool:
            worker = Worker(self._database, OPTIONS)
            busy_with: list[Callable[[], object]] = [self._search, self._search, self._write]
            tasks = [pool.submit(task) for task in (*busy_with, worker.run)]
            try:
                busy()
                enough = time.monotonic() + 60
                while (self.searches < 20 or self.writes < 20) and time.monotonic() < enough:
                    time.sleep(0.05)
            finally:
                self._over.set()
                worker.stop()
            for task in tasks:
                task.result()
        assert min(self.searches, self.writes) >= 20

    def _search(self) -> None:
        with RegisteredSearch(self._database, NAME) as searcher:
            while not self._over.is_set():
                key = self.searches % ROWS + 1
                found = searcher.search(text_of(key), mode="dense", limit=3)
                first, hit = found.hits[0]
                if first != key:
                    # a graph in which most rows change all the time may not lead to every row:
                    # this filter leaves too few for it, so that the row itself is read
                    only = f"id = {key}"
                    found = searcher.search(text_of(key), mode="dense", limit=3, where=only)
                    assert found.hits, "a row was lost"
                    first, hit = found.hits[0]
                assert first == key
                assert hit.similarity is not None
                assert hit.similarity > 0.999, "a query met vectors of another space"
                self.searches += 1

    def _write(self) -> None:
        with connect(self._database) as connection:
            while not self._over.is_set():
                self.writes += 1
                connection.execute(
                    "INSERT INTO article (id, body) VALUES (%s, %s) "
                    "ON CONFLICT (id) DO UPDATE SET body = EXCLUDED.body",
                    [1000 + self.writes % 50, f"written in step {self.writes}"],
                )
                time.sleep(0.01)


@pytest.mark.parametrize("other", cases(CHANGES))
def test_searches_and_writes_go_on_from_the_beginning_to_the_end(
    connection: psycopg.Connection,
    database: str,
    index: RegisteredIndex,
    change: ModelChange,
    other: Callable[[IndexSpec], IndexSpec],
) -> None:
    def whole() -> None:
        make_ready(change, other(index.spec))
        change.compare()
        change.switch()
        change.rollback()
        change.switch()
        change.finish()

    Load(database).run(whole)

    drain(database)
    assert find_index(connection, NAME).generation == 2
    assert verify_all(database).ok


@pytest.mark.parametrize("other", cases(CHANGES, another_type))
def test_a_search_that_was_opened_before_the_switch_goes_on(
    database: str,
    index: RegisteredIndex,
    change: ModelChange,
    other: Callable[[IndexSpec], IndexSpec],
) -> None:
    make_ready(change, other(index.spec))
    with RegisteredSearch(database, NAME) as searcher:
        assert searcher.search(text_of(7), mode="dense").hits[0][0] == 7

        change.switch()

        key, hit = searcher.search(text_of(7), mode="dense").hits[0]
    assert (key, round(hit.similarity or 0, 3)) == (7, 1.0)


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_a_transaction_that_sees_the_past_is_told_to_begin_again(
    database: str, index: RegisteredIndex, change: ModelChange, mode: Any
) -> None:
    make_ready(change, another_space(index.spec))
    made = engine(database)
    with made.connect().execution_options(isolation_level="REPEATABLE READ") as reader:
        session = Session(reader)
        session.connection().exec_driver_sql("SELECT count(*) FROM article")

        change.switch()

        with pytest.raises(DBAPIError) as caught:
            session.execute(OLD.search(text_of(7), mode=mode)).all()
        session.rollback()
    made.dispose()
    assert isinstance(caught.value.orig, psycopg.errors.SerializationFailure)


def test_without_its_guard_such_a_transaction_meets_vectors_of_another_space(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, change: ModelChange
) -> None:
    make_ready(change, another_space(index.spec))
    connection.execute(
        "CREATE OR REPLACE FUNCTION embedsql.require_serving(index_name text, wanted int) "
        "RETURNS boolean LANGUAGE sql STABLE AS 'SELECT true'"
    )
    made = engine(database)
    with made.connect().execution_options(isolation_level="REPEATABLE READ") as reader:
        session = Session(reader)
        session.connection().exec_driver_sql("SELECT count(*) FROM article")
        change.switch()
        found = session.execute(OLD.search(text_of(7), mode="dense")).first()
        session.rollback()
    made.dispose()

    assert found is not None
    assert (found[1].similarity or 1) < 0.99


def test_an_application_with_the_old_declaration_is_refused_after_the_switch(
    database: str, index: RegisteredIndex, change: ModelChange
) -> None:
    make_ready(change, another_type(index.spec))
    change.switch()
    made = engine(database)

    with (
        Session(made) as session,
        pytest.raises(DBAPIError, match="another space than the vectors of"),
    ):
        session.execute(OLD.search(text_of(7))).all()
    made.dispose()


@pytest.mark.parametrize("other", cases(CHANGES, another_type))
def test_readers_that_name_their_generation_search_it_before_and_after_the_switch(
    database: str,
    index: RegisteredIndex,
    change: ModelChange,
    other: Callable[[IndexSpec], IndexSpec],
) -> None:
    make_ready(change, other(index.spec))
    spec = other(index.spec)
    declared: dict[str, Any] = {
        name: getattr(spec, name)
        for name in ("model", "dimensions", "quantization", "query_prompt", "document_prompt")
    }
    new = SemanticIndex(NAME, Article, text=("title", "body"), generation=2, **declared)
    old = SemanticIndex(NAME, Article, text=("title", "body"), model="hash:64", generation=1)
    made = engine(database)

    def search_both() -> None:
        with Session(made) as session:
            for declaration in (old, new):
                for mode in get_args(Mode):
                    statement = declaration.search(text_of(7), mode=mode)
                    assert session.execute(statement).first()[0].id == 7  # type: ignore[index]

    search_both()
    change.switch()
    search_both()
    change.finish()
    with Session(made) as session:
        assert session.execute(new.search(text_of(7))).first()[0].id == 7  # type: ignore[index]
        with pytest.raises(DBAPIError, match="does not exist"):
            session.execute(old.search(text_of(7))).all()
    made.dispose()


def test_a_reader_that_does_not_end_holds_up_the_switch_and_nobody_else(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, change: ModelChange
) -> None:
    make_ready(change, another_type(index.spec))
    with connect(database) as reader, reader.transaction():
        reader.execute("SELECT FROM article_search")

        with pytest.raises(ModelChangeError, match="long transaction"):
            change.switch(patience=PATIENCE)

        connection.execute("SET lock_timeout = '3s'")
        assert connection.execute("SELECT FROM article_search").rowcount == ROWS
    assert change.generations.require_next().state == "ready"
    change.switch()
    assert find_index(connection, NAME).generation == 2


def test_a_row_that_only_the_serving_generation_has_holds_up_the_switch(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    with ModelChange(database, NAME, OPTIONS) as change:
        make_ready(change, another_type(index.spec))
        following = change.generations.require_next()
    names = sql.Identifier("embedsql", following.names.log)
    connection.execute(sql.SQL("INSERT INTO {} (key_1) VALUES (7)").format(names))

    with pytest.raises(ModelChangeError, match="1 rows behind"):
        switching.switch(connection, following, index, Idle(), patience=PATIENCE)  # type: ignore[arg-type]

    assert find_index(connection, NAME).generation == 1
    connection.execute("UPDATE article SET body = 'another' WHERE id = 7")  # both lack it now
    switching.switch(connection, following, index, Idle(), patience=PATIENCE)  # type: ignore[arg-type]
    assert find_index(connection, NAME).generation == 2


class Idle:
    """Nobody works."""

    def ensure(self, connection: psycopg.Connection) -> None:
        pass


def test_who_worked_and_searched_before_may_do_so_afterwards(
    connection: psycopg.Connection,
    database: str,
    index: RegisteredIndex,
    change: ModelChange,
    role: str,
) -> None:
    for statement in HARDENED:
        connection.execute(statement)
    for purpose in ("worker", "search"):
        CliRunner().invoke(app, ["grant", purpose, role, "--database-url", database])
    make_ready(change, another_type(index.spec))
    change.switch()
    connection.execute("INSERT INTO article (id, body) VALUES (500, 'by another role')")

    assert drain(as_role(database, role)).problems == {}

    assert len(stored_chunks(connection, find_index(connection, NAME))) == ROWS + 1
    new = SemanticIndex(
        NAME, Article, text=("title", "body"), model="hash:96", quantization="halfvec"
    )
    made = engine(as_role(database, role))
    with Session(made) as session:
        asked = new.search("by another role").with_only_columns(Article.id)
        assert session.execute(asked).scalar() == 500
    with connect(as_role(database, role)) as reader:
        assert reader.execute("SELECT FROM article_search").rowcount == ROWS + 1
    connection.execute(
        sql.SQL("REVOKE EXECUTE ON FUNCTION embedsql.require_serving FROM {}").format(
            sql.Identifier(role)
        )
    )
    with Session(made) as session, pytest.raises(DBAPIError, match="permission denied"):
        session.execute(asked).all()
    made.dispose()


def test_a_change_made_by_a_superuser_belongs_to_the_owner_of_the_index(
    connection: psycopg.Connection, database: str, role: str
) -> None:
    quoted = sql.Identifier(role)
    create_article_table(connection)
    connection.execute("INSERT INTO article (body) VALUES ('one')")
    connection.execute(sql.SQL("ALTER TABLE article OWNER TO {}").format(quoted))
    connection.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA public TO {}").format(quoted))
    connection.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA embedsql TO {}").format(quoted))
    connection.execute(sql.SQL("GRANT ALL ON ALL TABLES IN SCHEMA embedsql TO {}").format(quoted))
    with connect(as_role(database, role)) as owner:
        made = add_index(owner)
    drain(database)
    with ModelChange(database, NAME, OPTIONS) as change:
        make_ready(change, another_type(made.spec))
        change.switch()

    owners = connection.execute(
        "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class "
        "WHERE relname LIKE 'article_search%' UNION "
        "SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE proname LIKE 'article_search%'"
    ).fetchall()
    assert owners == [(role,)]


@pytest.mark.exhaustive
def test_the_old_generation_is_dropped_beside_a_long_autovacuum(
    connection: psycopg.Connection, change: ModelChange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "ATTEMPTS", 1)
    make_ready(change, another_type(change.generations.serving.spec))
    change.switch()
    old = "embedsql.article_search_chunk_1"
    vacuumed = "SELECT FROM pg_stat_progress_vacuum WHERE relid = %s::regclass"
    try:
        connection.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(
            f"ALTER TABLE {old} SET (autovacuum_vacuum_threshold = 0,"
            " autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 100,"
            " autovacuum_vacuum_cost_limit = 1)"
        )
        connection.execute(f"DELETE FROM {old} WHERE key_1 > 5")
        until(lambda: connection.execute(vacuumed, [old]).rowcount == 1, seconds=60)

        change.finish()
    finally:
        connection.execute("ALTER SYSTEM RESET autovacuum_naptime")
        connection.execute("SELECT pg_reload_conf()")
    assert connection.execute("SELECT to_regclass(%s)", [old]).fetchone() == (None,)


def test_a_worker_in_the_middle_of_a_batch_and_a_finish_wait_for_each_other_in_one_order(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, change: ModelChange
) -> None:
    make_ready(change, another_type(index.spec))
    change.switch()
    touch = "LOCK TABLE embedsql.article_search_{} IN ROW EXCLUSIVE MODE"
    waiting = (
        "SELECT count(*) FROM pg_locks WHERE NOT granted "
        "AND relation = 'embedsql.article_search_batch'::regclass"
    )
    with ThreadPoolExecutor(1) as pool, connect(database) as worker:
        with worker.transaction():
            worker.execute(touch.format("batch").encode())  # as its fence does
            finished = pool.submit(change.finish)
            eventually(lambda: connection.execute(waiting).fetchone() == (1,))
            worker.execute("SET LOCAL lock_timeout = '5s'")
            worker.execute(touch.format("chunk_1").encode())  # and then what it writes
        finished.result()
    change._connection.execute("SELECT pg_stat_force_next_flush()")
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert connection.execute(deadlocks).fetchone() == (0,)  # one would be tried again, unseen
    assert find_index(connection, NAME).generation == 2
    tables = "SELECT count(*) FROM pg_tables WHERE tablename = 'article_search_chunk_1'"
    assert connection.execute(tables).fetchone() == (0,)
