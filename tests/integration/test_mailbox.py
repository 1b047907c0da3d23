"""Query vectors from a worker: asked in SQL and in Python, answered, remembered, or not in time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import create_engine
from sqlalchemy.engine import URL, Engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from embedsql.database import connect
from embedsql.embedders.hashing import HashEmbedder
from embedsql.errors import IndexNotFoundError, ProviderError, QueryError
from embedsql.grants import grant_statements
from embedsql.mailbox import embed_query, embed_query_async
from embedsql.registry import RegisteredIndex
from embedsql.worker.answerer import Answerer
from tests.answering import answering_worker, eventually
from tests.factories import add_index, create_article_table, drain

NOBODY = "searched for words only: no worker answered within"
TAKEN = "searched for words only: a worker took it, and its model did not answer within"


@pytest.fixture
def index(connection: psycopg.Connection, database: str) -> RegisteredIndex:
    """Three articles, embedded; no worker."""
    create_article_table(connection)
    connection.execute("INSERT INTO article (body) VALUES ('amber'), ('birch'), ('cedar')")
    found = add_index(connection)
    drain(database)
    return found


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    made = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(database))
    yield made
    made.dispose()


@pytest.fixture
def notices(connection: psycopg.Connection) -> list[str]:
    return heard(connection)


def heard(connection: psycopg.Connection) -> list[str]:
    said: list[str] = []
    connection.add_notice_handler(lambda diag: said.append(diag.message_primary or ""))
    return said


def ask(connection: psycopg.Connection, query: str, **options: Any) -> list[Any]:
    """``(id, strategy, complete)`` of each row."""
    named = "".join(f", {name} => %({name})s" for name in options)
    return connection.execute(
        f"SELECT id, strategy, complete FROM article_search(%(query)s{named})".encode(),
        {"query": query, **options},
    ).fetchall()


def count(connection: psycopg.Connection, table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM embedsql.{table}".encode()).fetchone()
    return int(row[0]) if row else 0


def test_worker_answers_and_the_answer_stays(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, notices: list[str]
) -> None:
    with answering_worker(database):
        assert ask(connection, "birch", k=1) == [(2, "ann", True)]
        assert ask(connection, "birch", k=1, mode="dense") == [(2, "ann", True)]
        assert count(connection, "query_vector") == 1
        assert count(connection, "query_request") == 0
    # nobody answers now, and nobody need
    assert ask(connection, "birch", k=1, mode="dense", wait_ms=0) == [(2, "ann", True)]
    assert notices == []


def test_the_answer_is_the_models_vector_to_the_bit(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    connection.execute("SET extra_float_digits = -10")
    with answering_worker(database):
        ask(connection, "back into my account")
    row = connection.execute(
        "SELECT * FROM embedsql.await_query('article_search', 'back into my account', 0)"
    ).fetchone()
    assert row is not None
    embedder = HashEmbedder("hash:64")
    expected = embedder.embed_queries(["back into my account"])[0]
    assert [float(number) for number in row[0].strip("[]").split(",")] == pytest.approx(
        expected.tolist(), rel=1e-7
    )
    assert row[1] == embedder.space.label


def test_without_a_worker_words_are_searched_and_it_says_so(
    connection: psycopg.Connection, index: RegisteredIndex, notices: list[str]
) -> None:
    assert ask(connection, "birch", wait_ms=50) == [(2, "lexical", False)]
    assert len(notices) == 1
    assert notices[0].startswith(NOBODY)
    assert ask(connection, "birch", mode="lexical") == [(2, "lexical", True)]
    assert len(notices) == 1
    with pytest.raises(psycopg.Error, match="no worker answered within 50 ms") as refused:
        ask(connection, "birch", mode="dense", wait_ms=50)
    assert refused.value.sqlstate == "ES006"


def test_wait_is_bounded(connection: psycopg.Connection, index: RegisteredIndex) -> None:
    # a wait that were not bounded would run into this
    connection.execute("SET statement_timeout = '20s'")
    started = connection.execute("SELECT clock_timestamp()").fetchone()
    ask(connection, "birch", wait_ms=300)
    took = connection.execute(
        "SELECT clock_timestamp() - %s BETWEEN '300 ms' AND '15 s'", started
    ).fetchone()
    assert took == (True,)


def test_without_dblink_it_says_what_to_install(
    connection: psycopg.Connection, index: RegisteredIndex, notices: list[str]
) -> None:
    connection.execute("DROP EXTENSION dblink")
    assert ask(connection, "birch") == [(2, "lexical", False)]
    assert "CREATE EXTENSION dblink" in notices[0]


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("access", ["READ WRITE", "READ ONLY"])
def test_any_transaction_may_ask(
    connection: psycopg.Connection,
    database: str,
    index: RegisteredIndex,
    isolation: str,
    access: str,
    notices: list[str],
) -> None:
    with answering_worker(database), connection.transaction():
        connection.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation} {access}".encode())
        if access == "READ WRITE":
            connection.execute("INSERT INTO article (body) VALUES ('delta')")
        assert ask(connection, "cedar", k=1) == [(3, "ann", True)]
        assert notices == []


def test_question_outlives_a_transaction_that_rolls_back(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    with answering_worker(database), connection.transaction(force_rollback=True):
        ask(connection, "cedar")
    assert count(connection, "query_vector") == 1


def test_two_spaces_have_vectors_of_their_own(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    add_index(connection, name="other_search", model="hash:32", dimensions=32)
    with answering_worker(database):
        for name, dimensions in (("article_search", 64), ("other_search", 32)):
            found = connection.execute(
                f"SELECT similarity IS NOT NULL FROM {name}('birch', 1, 'dense')".encode()
            ).fetchall()
            assert found == [(True,)] or name == "other_search"
            vector = connection.execute(
                "SELECT vector_dims(a.vector::vector) FROM embedsql.await_query(%s, 'birch', 0) a",
                [name],
            ).fetchone()
            assert vector == (dimensions,)
    assert count(connection, "query_vector") == 2


def test_oldest_vectors_go_when_there_are_too_many(
    connection: psycopg.Connection, database: str, engine: Engine, index: RegisteredIndex
) -> None:
    with Answerer(database, api_key=None, threads=None, kept=5):
        for number in range(12):
            embed_query(engine, "article_search", f"question {number}", timeout=20)
            assert count(connection, "query_vector") <= 5
    known = [
        number for number in range(12) if ask(connection, f"question {number}", wait_ms=0) != []
    ]
    assert known
    assert min(known) >= 7


@pytest.mark.parametrize("left", ["1 s", "1 day"])  # the day: the server's clock was set back
def test_worker_that_dies_with_a_question_leaves_it_to_the_next(
    connection: psycopg.Connection,
    database: str,
    index: RegisteredIndex,
    notices: list[str],
    left: str,
) -> None:
    connection.execute("SELECT embedsql.post_query('article_search', 'birch')")
    # as one that claimed it and was killed
    claimed = "UPDATE embedsql.query_request SET claimed_until = now() + %s::interval"
    connection.execute(claimed, [left])
    assert ask(connection, "birch", wait_ms=100) == [(2, "lexical", False)]
    assert notices[0].startswith(TAKEN)
    with Answerer(database, api_key=None, threads=None):
        eventually(lambda: count(connection, "query_vector") == 1)
    assert count(connection, "query_request") == 0
    assert ask(connection, "birch", k=1, wait_ms=0) == [(2, "ann", True)]


def test_a_broken_model_is_told_to_who_asks(
    connection: psycopg.Connection,
    database: str,
    engine: Engine,
    index: RegisteredIndex,
    notices: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Broken(HashEmbedder):
        def embed_queries(self, texts: Any) -> Any:
            raise RuntimeError("the model fell over")

    monkeypatch.setattr(
        "embedsql.worker.answerer.load_embedder", lambda model, options: Broken(model)
    )
    with Answerer(database, api_key=None, threads=None):
        assert ask(connection, "birch", wait_ms=20_000) == [(2, "lexical", False)]
        assert "the model fell over" in notices[0]
        with pytest.raises(ProviderError, match="the model fell over"):
            embed_query(engine, "article_search", "cedar", timeout=20)


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ"])
def test_a_model_that_takes_too_long_is_told_apart_from_no_worker(
    connection: psycopg.Connection,
    database: str,
    engine: Engine,
    index: RegisteredIndex,
    notices: list[str],
    monkeypatch: pytest.MonkeyPatch,
    isolation: str,
) -> None:
    asked, answered = threading.Event(), threading.Event()

    class Slow(HashEmbedder):
        def embed_queries(self, texts: Any) -> Any:
            asked.set()
            answered.wait(60)
            return super().embed_queries(texts)

    monkeypatch.setattr(
        "embedsql.worker.answerer.load_embedder", lambda model, options: Slow(model)
    )
    with Answerer(database, api_key=None, threads=None):
        connection.execute("SELECT embedsql.post_query('article_search', 'birch')")
        assert asked.wait(60)
        with connection.transaction():
            connection.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}".encode())
            assert ask(connection, "birch", wait_ms=50) == [(2, "lexical", False)]
        assert notices == [TAKEN + " 50 ms: its log says why, or wait_ms => ... waits longer"]
        connection.execute("UPDATE embedsql.semantic_index SET problem = 'waiting for it: 503'")
        assert ask(connection, "birch", wait_ms=50) == [(2, "lexical", False)]
        assert notices[1] == TAKEN + " 50 ms: waiting for it: 503"
        with pytest.raises(ProviderError, match=r"a worker took the query.* within 0\.1 s"):
            embed_query(engine, "article_search", "birch", timeout=0.1)
        answered.set()


def test_who_asks_no_worker_is_not_told_that_none_answered(
    connection: psycopg.Connection, index: RegisteredIndex, notices: list[str]
) -> None:
    assert ask(connection, "birch", wait_ms=0) == [(2, "lexical", False)]
    assert "with wait_ms => 0 no worker is asked" in notices[0]


def test_worker_survives_its_connection(
    connection: psycopg.Connection, database: str, engine: Engine, index: RegisteredIndex
) -> None:
    with answering_worker(database):
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
            "current_database() AND application_name = 'embedsql worker'"
        )
        assert len(embed_query(engine, "article_search", "birch", timeout=30)) == 64


def test_many_ask_at_once(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    answers: list[Any] = []

    def run(number: int) -> None:
        with connect(database) as own:
            for turn in range(5):
                answers.append(ask(own, f"birch {turn} {number % 3}", k=1, wait_ms=20_000))

    with answering_worker(database):
        threads = [threading.Thread(target=run, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [[(2, "ann", True)]] * 40
    assert count(connection, "query_vector") == 15


def test_python_asks_beside_its_own_transaction(
    connection: psycopg.Connection, database: str, engine: Engine, index: RegisteredIndex
) -> None:
    expected = HashEmbedder("hash:64").embed_queries(["birch"])[0].tolist()
    with answering_worker(database), Session(engine) as session:
        session.connection().exec_driver_sql("UPDATE article SET title = 'x'")
        assert embed_query(session, "article_search", "birch", timeout=20) == pytest.approx(
            expected
        )
        assert embed_query(engine, "article_search", "birch", timeout=0) == pytest.approx(expected)
        session.rollback()
    assert connection.execute("SELECT count(title) FROM article").fetchone() == (0,)


def test_asyncio_asks_too(database: str, index: RegisteredIndex) -> None:
    found = conninfo_to_dict(database)
    url = URL.create(
        "postgresql+psycopg",
        username=str(found["user"]),
        database=str(found["dbname"]),
        query={"host": str(found["host"])},
    )

    async def run() -> list[list[float]]:
        engine = create_async_engine(url)
        async with AsyncSession(engine) as session:
            answers = [
                await embed_query_async(engine, "article_search", "birch", timeout=20),
                await embed_query_async(session, "article_search", "birch", timeout=0),
            ]
            with pytest.raises(IndexNotFoundError):
                await embed_query_async(engine, "no_such_index", "birch")
        await engine.dispose()
        return answers

    with answering_worker(database):
        first, again = asyncio.run(run())
    assert len(first) == 64
    assert first == again


def test_python_is_told_what_is_wrong(
    database: str, engine: Engine, index: RegisteredIndex
) -> None:
    with pytest.raises(ProviderError, match=r"no worker answered within 0\.1 s"):
        embed_query(engine, "article_search", "birch", timeout=0.1)
    with pytest.raises(IndexNotFoundError, match='no semantic index named "nothing"'):
        embed_query(engine, "nothing", "birch")
    with pytest.raises(QueryError):
        embed_query(engine, "article_search", "  ")


# What a role may do that only searches


@pytest.fixture
def role(connection: psycopg.Connection, index: RegisteredIndex) -> Iterator[str]:
    name = f"search;\"'-- {uuid4().hex[:8]}"
    quoted = sql.Identifier(name)
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(quoted))
    for statement in grant_statements(index.spec, name, "search", index.names):
        connection.execute(statement.encode())
    yield name
    connection.execute(sql.SQL("DROP OWNED BY {}").format(quoted))
    connection.execute(sql.SQL("DROP ROLE {}").format(quoted))


def test_search_role_asks_a_worker(database: str, role: str) -> None:
    with answering_worker(database), connect(make_conninfo(database, user=role)) as session:
        said = heard(session)
        assert ask(session, "birch", k=1) == [(2, "ann", True)]
        assert said == []


def test_search_role_reads_neither_mail_nor_vectors(
    connection: psycopg.Connection, database: str, role: str
) -> None:
    with connect(make_conninfo(database, user=role)) as session:
        session.execute("SELECT embedsql.post_query('article_search', 'mine')")
        for statement in (
            "SELECT * FROM embedsql.query_request",
            "SELECT * FROM embedsql.query_vector",
            "INSERT INTO embedsql.query_vector (digest, vector) VALUES ('x', '{1}')",
            "DELETE FROM embedsql.query_request",
            "CALL embedsql.put_query('article_search', 'x', 'somebody')",
            "SELECT embedsql.ask_worker('article_search', 'x', 0)",
            "SELECT embedsql.loopback(0)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement.encode())
    asked = connection.execute("SELECT query, asked_by FROM embedsql.query_request").fetchall()
    assert asked == [("mine", role)]


@pytest.mark.parametrize(
    "query",
    [
        "'); CREATE TABLE attacked (); --",
        "\\'; CREATE TABLE attacked (); COMMIT; --",
        "$$; CREATE TABLE attacked (); $$",
        "%1$L %4$s",
        "a\nb\tc\\",
    ],
)
def test_text_is_only_text_on_the_side_connection(
    connection: psycopg.Connection, database: str, role: str, query: str
) -> None:
    with connect(make_conninfo(database, user=role)) as session:
        for scs in ("on", "off"):
            session.execute(f"SET standard_conforming_strings = {scs}".encode())
            session.execute(
                "SELECT * FROM article_search($1, wait_ms => 20)".replace("$1", "%s"), [query]
            )
    asked = connection.execute("SELECT query, asked_by FROM embedsql.query_request").fetchall()
    assert asked == [(query, role)]
    assert connection.execute("SELECT to_regclass('attacked')").fetchone() == (None,)


def test_no_connection_of_the_owner_is_left_to_who_asked(
    connection: psycopg.Connection, database: str, role: str
) -> None:
    with connect(make_conninfo(database, user=role)) as session:
        session.execute("SET statement_timeout = '150ms'")
        for _ in range(3):
            with pytest.raises(psycopg.errors.QueryCanceled):
                ask(session, "birch", wait_ms=5000)
        session.execute("SET statement_timeout = 0")
        ask(session, "birch", wait_ms=20)
        assert session.execute("SELECT dblink_get_connections()").fetchone() == (None,)
        with pytest.raises(psycopg.Error):
            session.execute("SELECT * FROM dblink('SELECT current_user::text') AS t (name text)")
        with pytest.raises(psycopg.Error, match=r"password|credentials"):
            session.execute(
                "SELECT dblink_connect('dbname=' || current_database() || ' user=postgres')"
            )


def test_hostile_search_path_and_objects_change_nothing(
    connection: psycopg.Connection, database: str, role: str
) -> None:
    quoted = sql.Identifier(role)
    connection.execute(sql.SQL("CREATE SCHEMA evil AUTHORIZATION {}").format(quoted))
    with connect(make_conninfo(database, user=role)) as session:
        session.execute(
            "CREATE FUNCTION evil.dblink(text, text) RETURNS SETOF record LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'hijacked'; END $$"
        )
        session.execute(
            "CREATE FUNCTION evil.format(text, VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'hijacked'; END $$"
        )
        session.execute("SET search_path = evil, public")
        said = heard(session)
        assert ask(session, "birch", wait_ms=20) == [(2, "lexical", False)]
        assert said[0].startswith(NOBODY)
    connection.execute("DROP SCHEMA evil CASCADE")


def test_mail_box_is_bounded(connection: psycopg.Connection, database: str, role: str) -> None:
    with connect(make_conninfo(database, user=role)) as session:
        for number in range(200):
            session.execute("SELECT embedsql.post_query('article_search', %s)", [f"q {number}"])
        with pytest.raises(psycopg.Error, match="mailbox is full") as refused:
            session.execute("SELECT embedsql.post_query('article_search', 'one more')")
        assert refused.value.sqlstate == "ES007"
        said = heard(session)
        assert ask(session, "birch", wait_ms=1000) == [(2, "lexical", False)]
        assert "mailbox is full" in said[0]
    # others are served
    connection.execute("SELECT embedsql.post_query('article_search', 'of somebody else')")
    # and what nobody waits for any more makes room
    connection.execute("UPDATE embedsql.query_request SET asked_at = asked_at - interval '1 min'")
    with connect(make_conninfo(database, user=role)) as session:
        session.execute("SELECT embedsql.post_query('article_search', 'one more')")
    assert count(connection, "query_request") == 1


def test_text_too_long_for_the_mail_box_is_refused(
    connection: psycopg.Connection, index: RegisteredIndex
) -> None:
    with pytest.raises(psycopg.Error, match="10000 is the most") as refused:
        connection.execute("SELECT embedsql.post_query('article_search', repeat('x', 10001))")
    assert refused.value.sqlstate == "ES004"


def test_owner_that_is_no_superuser_is_told_of_the_server_to_make(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, notices: list[str]
) -> None:
    owner = f"owner_{uuid4().hex[:8]}"
    quoted = sql.Identifier(owner)
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(quoted))
    try:
        connection.execute(sql.SQL("GRANT CREATE, USAGE ON SCHEMA embedsql TO {}").format(quoted))
        connection.execute(
            sql.SQL("GRANT ALL ON ALL TABLES IN SCHEMA embedsql TO {}").format(quoted)
        )
        connection.execute(
            sql.SQL("GRANT ALL ON ALL ROUTINES IN SCHEMA embedsql TO {}").format(quoted)
        )
        connection.execute(
            sql.SQL("ALTER FUNCTION embedsql.prepare_search OWNER TO {}").format(quoted)
        )
        assert ask(connection, "birch") == [(2, "lexical", False)]
        assert f"as {owner}, CREATE SERVER embedsql_loopback" in notices[0]
    finally:
        connection.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(quoted))
        connection.execute(sql.SQL("DROP OWNED BY {}").format(quoted))
        connection.execute(sql.SQL("DROP ROLE {}").format(quoted))


def test_foreign_server_leads_to_the_mail_box(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, notices: list[str]
) -> None:
    found = conninfo_to_dict(database)
    connection.execute(
        sql.SQL(
            "CREATE SERVER embedsql_loopback FOREIGN DATA WRAPPER dblink_fdw "
            "OPTIONS (host {}, dbname {})"
        ).format(str(found["host"]), str(found["dbname"]))
    )
    connection.execute(
        sql.SQL(
            "CREATE USER MAPPING FOR CURRENT_USER SERVER embedsql_loopback OPTIONS (user {})"
        ).format(str(found["user"]))
    )
    with answering_worker(database):
        assert ask(connection, "birch", k=1) == [(2, "ann", True)]
    connection.execute("ALTER SERVER embedsql_loopback OPTIONS (SET dbname 'no such database')")
    assert notices == []
    assert ask(connection, "another birch") == [(2, "lexical", False)]
    assert "could not establish connection" in notices[0]


def test_locked_mail_box_keeps_nobody_waiting(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, notices: list[str]
) -> None:
    with connect(database) as other, other.transaction():
        other.execute("LOCK TABLE embedsql.query_request")
        started = time.monotonic()
        assert ask(connection, "birch", wait_ms=5000) == [(2, "lexical", False)]
        assert time.monotonic() - started < 60
    assert "lock timeout" in notices[0]
