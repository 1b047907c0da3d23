"""A hot standby: it serves searches, says what it cannot do, and is worked on once promoted."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import BigInteger
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from embedsql import SemanticIndex
from embedsql.database import connect, conninfo, engine
from embedsql.doctor import Limits, diagnose
from embedsql.embedders.hashing import HashEmbedder
from embedsql.errors import ProviderError
from embedsql.mailbox import embed_query
from embedsql.reembed import ModelChange
from embedsql.registered import RegisteredSearch
from embedsql.worker import Worker, WorkerOptions
from tests.acceptance.conftest import Embedsql
from tests.answering import answering_worker
from tests.factories import add_index, create_article_table, drain, until, verify_all
from tests.servers import standby_of

WORDS = ("amber", "birch", "cedar", "dogwood", "elm", "fir")


class Base(DeclarativeBase):
    pass


class Article(Base):
    __tablename__ = "article"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    tenant_id: Mapped[int]
    title: Mapped[str | None]
    body: Mapped[str | None]


SEARCH = SemanticIndex("article_search", Article, text=("title", "body"), model="hash:64")


@pytest.fixture(scope="module")
def primary(module_database: str) -> str:
    """Six articles, embedded."""
    if "EMBEDSQL_TEST_URL" in os.environ:
        pytest.skip("a standby is made of the embedded server only")
    with connect(module_database) as connection:
        create_article_table(connection)
        add_index(connection)
        for word in WORDS:
            connection.execute("INSERT INTO article (body) VALUES (%s)", [f"{word} tree"])
    drain(module_database)
    return module_database


@pytest.fixture(scope="module")
def standby(primary: str) -> Iterator[str]:
    with made_standby(primary) as made:
        yield made


@contextlib.contextmanager
def made_standby(primary: str) -> Iterator[str]:
    with standby_of(primary) as server:
        yield make_conninfo(conninfo(server.url), dbname=conninfo_to_dict(primary)["dbname"])


def folder_of(database: str) -> str:
    """Of its server's socket."""
    return str(conninfo_to_dict(database)["host"])


def replay(primary: str, standby: str) -> None:
    """Wait until the standby has come as far as the primary is now."""
    with connect(primary) as writer, connect(standby) as reader:
        (now,) = writer.execute("SELECT pg_current_wal_insert_lsn()").fetchone() or ()
        behind = "SELECT pg_last_wal_replay_lsn() < %s"
        until(lambda: reader.execute(behind, [now]).fetchone() == (False,))


def ask(database: str, query: str, **options: Any) -> tuple[list[Any], list[str]]:
    """``(id, strategy)`` of the best row, and the notices."""
    named = "".join(f", {name} => %({name})s" for name in options)
    statement = f"SELECT id, strategy FROM article_search(%(query)s, 1{named})".encode()
    notices: list[str] = []
    with connect(database) as connection:
        connection.add_notice_handler(lambda diag: notices.append(diag.message_primary or ""))
        return connection.execute(statement, {"query": query, **options}).fetchall(), notices


def found_in(database: str) -> list[Any]:
    """What every kind of search finds there."""
    vector = HashEmbedder("hash:64").embed_queries(["elm tree"])[0].tolist()
    found: list[Any] = [ask(database, "elm", vector=str(vector), mode="dense")]
    with RegisteredSearch(database, "article_search") as search:
        hits = search.search("elm tree", where="id > 1").hits
        found.append({key: (round(hit.score, 6), hit.pending) for key, hit in hits})
        explained = search.explain("elm tree", key=7).row
        found.append(explained and [reason.code for reason in explained.reasons])
    opened = engine(database)
    with Session(opened) as session:
        ranked = SEARCH.fetch(session, "tree", rerank=lambda query, texts: [len(t) for t in texts])
        found += [ranked.reranked, {article.body for article, _ in ranked}]
        found.append(session.execute(SEARCH.facets(Article.tenant_id, "elm")).all())
    opened.dispose()
    return found


def test_a_standby_finds_what_its_primary_finds(primary: str, standby: str) -> None:
    with connect(primary) as connection:
        connection.execute("INSERT INTO article (body) VALUES ('elm just planted')")
    replay(primary, standby)

    found = found_in(standby)

    assert found == found_in(primary)
    assert found[1][7][1] is True  # it waits to be embedded, and is found
    assert found[2] == ["queued"]
    drain(primary)


def test_a_question_is_answered_on_a_standby_where_its_vector_is_known(
    primary: str, standby: str
) -> None:
    with answering_worker(primary):
        asked = "was asked before"
        opened, elsewhere = engine(standby), engine(primary)
        vector = embed_query(elsewhere, "article_search", asked)
        replay(primary, standby)

        assert embed_query(opened, "article_search", asked) == vector
        assert ask(standby, asked, mode="dense")[1] == []
        with pytest.raises(ProviderError, match="a standby takes no questions: ask its primary"):
            embed_query(opened, "article_search", "never asked")
        ((hit,), (notice,)) = ask(standby, "birch")
        assert hit == (2, "lexical")
        assert notice.startswith("searched for words only: a standby takes no questions")
        opened.dispose()
        elsewhere.dispose()


def test_a_standby_asks_a_worker_of_its_primary_and_takes_no_answer_of_another_space(
    primary: str, standby: str
) -> None:
    at = conninfo_to_dict(primary)
    with connect(primary) as connection, connect(standby) as reader, answering_worker(primary):
        connection.execute(
            "CREATE SERVER embedsql_loopback FOREIGN DATA WRAPPER dblink_fdw "
            f"OPTIONS (host '{at['host']}', dbname '{at['dbname']}');"
            f"CREATE USER MAPPING FOR CURRENT_USER SERVER embedsql_loopback "
            f"OPTIONS (user '{at['user']}')".encode()
        )
        replay(primary, standby)
        assert answer(standby, "dogwood tree") == [4]

        reader.execute("SELECT pg_wal_replay_pause()")
        try:
            switch_to(primary, "hash:32", 32)
            ((hit,), (notice,)) = ask(standby, "cedar")
            assert hit == (3, "lexical")
            assert "for another generation of the index" in notice
            with pytest.raises(psycopg.Error, match="for another generation of the index"):
                ask(standby, "cedar", mode="dense")
        finally:
            reader.execute("SELECT pg_wal_replay_resume()")
            connection.execute("DROP SERVER embedsql_loopback CASCADE")


def answer(database: str, query: str) -> list[int]:
    rows, notices = ask(database, query, mode="dense")
    assert notices == []
    return [key for key, _ in rows]


def switch_to(database: str, model: str, dimensions: int) -> None:
    with ModelChange(database, "article_search", WorkerOptions(poll_interval=0.05)) as change:
        spec = change.generations.serving.spec
        change.begin(replace(spec, model=model, dimensions=dimensions))
        change.fill()
        change.accept()
        change.switch()


def test_commands_say_that_a_standby_takes_no_writes(primary: str, standby: str) -> None:
    embedsql = Embedsql(standby)
    refused = embedsql.run("requeue", "article_search", exit_code=1).stderr
    assert "this needs the primary" in refused
    refused = embedsql.run("worker", "--drain", exit_code=1).stderr
    assert "target_session_attrs=read-write" in refused

    refused = embedsql.run("prewarm", "article_search", exit_code=1).stderr
    assert "CREATE EXTENSION pg_prewarm, of a standby on its primary" in refused
    with connect(primary) as connection:
        connection.execute("CREATE EXTENSION pg_prewarm")
    replay(primary, standby)
    assert "MB in memory" in embedsql.run("prewarm", "article_search").stderr


def test_the_doctor_knows_a_standby(primary: str, standby: str) -> None:
    with connect(primary) as connection, connect(standby) as reader:
        connection.execute("CREATE TABLE note (id int PRIMARY KEY, body text)")
        add_index(connection, "note", text=("body",))
        connection.execute("INSERT INTO note SELECT n, 'x' FROM generate_series(1, 9) AS n")
        connection.execute("INSERT INTO embedsql.note_search_log (key_1) VALUES (1)")
        replay(primary, standby)

        # a standby counts no rows: a log of any size were too big for what is in it
        feedback, waiting = diagnose(reader, "note_search", Limits(sparse_bytes=1))

        assert "SQLSTATE 40001" in feedback.finding
        assert "changed rows wait" in waiting.finding
        for statement in feedback.mend.splitlines():
            reader.execute(statement.encode())
        until(lambda: diagnose(reader, "note_search") == [waiting])


@pytest.mark.exhaustive
def test_a_worker_waits_for_the_promotion_of_a_standby(
    primary: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address = tmp_path / "server"  # it leads to one server, then to the other, as a name may
    address.symlink_to(folder_of(primary))
    worker = Worker(make_conninfo(primary, host=str(address)), WorkerOptions(poll_interval=0.1))
    running = threading.Thread(target=worker.run)
    with made_standby(primary) as promoted:
        running.start()
        try:
            with connect(primary) as connection:
                connection.execute("INSERT INTO article (body) VALUES ('before')")
                until(lambda: worker.report.saved > 0)
                replay(primary, promoted)
                address.unlink()
                address.symlink_to(folder_of(promoted))
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'embedsql worker' AND datname = current_database()"
                )
            until(lambda: "this server is a standby" in caplog.text)
            with connect(promoted) as connection:
                connection.execute("SELECT pg_promote()")
                connection.execute("INSERT INTO article (body) VALUES ('after')")
            until(lambda: verify_all(promoted).ok)
            assert ask(promoted, "after", wait_ms=5000)[1] == []
            assert running.is_alive()
        finally:
            worker.stop()
            running.join()
