"""Texts of which no vector is to be had: found by their words, and by nothing they said before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import BigInteger, Text
from sqlalchemy.engine import Engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from embedsql import SemanticIndex
from embedsql.changelog import ChangeLog
from embedsql.choices import Chunking
from embedsql.errors import TextRejectedError
from embedsql.registry import RegisteredIndex
from embedsql.requeue import requeue_rows
from embedsql.search import Hit, Mode
from tests.everyday import cases
from tests.factories import (
    HandWorker,
    RecordingEmbedder,
    add_index,
    create_article_table,
    stored_chunks,
    verify_all,
)


class Base(DeclarativeBase):
    pass


class Article(Base):
    __tablename__ = "article"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    title: Mapped[str | None] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)


FORMS: dict[str, dict[str, Any]] = {
    "full": {},
    "no index": {"index": "none"},
    "int8": {"quantization": "int8"},
    "bit": {"quantization": "bit"},
    "column": {"storage": "column", "chunking": None},
    "column halfvec": {"storage": "column", "chunking": None, "quantization": "halfvec"},
}
EVERYDAY = ("no index", "int8", "column")
WITH_VECTOR = "SELECT id FROM article_search WHERE embedding IS NOT NULL ORDER BY id"


@pytest.fixture
def form(request: pytest.FixtureRequest) -> dict[str, Any]:
    """How the index is made."""
    return FORMS[getattr(request, "param", "full")]


@pytest.fixture
def index(connection: psycopg.Connection, form: dict[str, Any]) -> RegisteredIndex:
    """An index on three articles."""
    create_article_table(connection)
    for body in ("the cat sat on the mat", "a dog barks at night", "the bank of the river"):
        connection.execute("INSERT INTO article (body) VALUES (%s)", [body])
    return add_index(connection, text=("body",), **form)


@pytest.fixture
def worker(database: str, index: RegisteredIndex) -> Iterator[HandWorker]:
    """A worker whose model refuses the word poison; the articles are embedded."""
    embedder = RecordingEmbedder("poison", TextRejectedError("the model refuses it"))
    made = HandWorker(database, index, embedder=embedder)
    made.work()
    yield made
    made.close()


def search(engine: Engine, words: str, mode: Mode, **form: Any) -> dict[int, Hit]:
    form = {"model": "hash:64", **form}
    articles = SemanticIndex("article_search", Article, text=("body",), **form)
    with Session(engine) as session:
        found = session.execute(articles.search(words, mode=mode))
        return {article.id: hit for article, hit in found}


@pytest.mark.parametrize("form", cases(FORMS, *EVERYDAY), indirect=True)
def test_a_refused_row_is_found_by_its_words_alone(
    connection: psycopg.Connection,
    sqlalchemy_engine: Engine,
    database: str,
    worker: HandWorker,
    form: dict[str, Any],
) -> None:
    connection.execute("UPDATE article SET body = 'a poison frog of the river' WHERE id = 1")
    connection.execute("INSERT INTO article (body) VALUES ('error ORA-31415: poison')")
    worker.work()

    for words, key in (("frogs", 1), ("ORA-31415", 4)):
        assert list(search(sqlalchemy_engine, words, "lexical", **form)) == [key]
        hit = search(sqlalchemy_engine, words, "hybrid", **form)[key]
        assert (hit.similarity, hit.dense_rank, hit.lexical_rank) == (None, None, 1)
    assert search(sqlalchemy_engine, "cat", "lexical", **form) == {}
    assert search(sqlalchemy_engine, "cat", "dense", **form).keys() == {2, 3}
    assert connection.execute(WITH_VECTOR).fetchall() == [(2,), (3,)]
    verdict = verify_all(database)
    assert (verdict.missing, verdict.stale, verdict.orphans, verdict.dead) == (2, 0, 0, 2)


def test_a_text_that_comes_back_is_embedded_though_it_once_was(
    connection: psycopg.Connection, sqlalchemy_engine: Engine, database: str, worker: HandWorker
) -> None:
    for body in ("poison", "the cat sat on the mat"):
        connection.execute("UPDATE article SET body = %s WHERE id = 1", [body])
        worker.work()

    assert search(sqlalchemy_engine, "cat", "dense").keys() == {1, 2, 3}
    assert search(sqlalchemy_engine, "poison", "lexical") == {}
    assert verify_all(database).ok


def test_a_retry_that_works_gives_the_vector(
    connection: psycopg.Connection, sqlalchemy_engine: Engine, database: str, worker: HandWorker
) -> None:
    connection.execute("INSERT INTO article (body) VALUES ('poison')")
    worker.embedder.error = ValueError("for now")
    worker.work()
    assert list(search(sqlalchemy_engine, "poison", "lexical")) == [4]

    worker.embedder.poison = None
    connection.execute("UPDATE embedsql.failure SET next_attempt_at = now()")
    worker.work()

    assert search(sqlalchemy_engine, "poison", "hybrid")[4].similarity is not None
    assert verify_all(database).ok


@pytest.mark.parametrize(
    "change",
    ["DELETE FROM article WHERE id = 4", "UPDATE article SET body = '' WHERE id = 4"],
)
def test_a_refused_row_that_goes_leaves_nothing(
    connection: psycopg.Connection, database: str, worker: HandWorker, change: str
) -> None:
    connection.execute("INSERT INTO article (body) VALUES ('poison')")
    worker.work()
    connection.execute(change)
    worker.work()

    assert connection.execute("SELECT id FROM article_search ORDER BY id").fetchall() == [
        (1,),
        (2,),
        (3,),
    ]
    assert verify_all(database).ok


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM article WHERE id = 4",
        "UPDATE article SET body = 'harmless' WHERE id = 4",
        "TRUNCATE article",
    ],
)
def test_what_changed_while_the_model_refused_it_is_not_written(
    connection: psycopg.Connection, worker: HandWorker, change: str
) -> None:
    connection.execute("INSERT INTO article (body) VALUES ('poison')")
    prepared = worker.ingest.prepare(worker.connection, worker.claim())
    failures = worker.ingest.embed(prepared)
    connection.execute(change)
    worker.ingest.write(worker.connection, prepared, failures)

    assert connection.execute("SELECT id FROM article_search WHERE id = 4").fetchall() == []


def test_without_a_lexical_lane_it_is_not_found_by_what_it_said_before(
    connection: psycopg.Connection, database: str
) -> None:
    create_article_table(connection)
    index = add_index(connection, text=("body",), lexical=None)
    made = HandWorker(database, index, embedder=RecordingEmbedder("poison"))
    connection.execute("INSERT INTO article (body) VALUES ('harmless')")
    made.work()
    connection.execute("UPDATE article SET body = 'poison'")
    made.work()
    made.close()

    assert connection.execute(WITH_VECTOR).fetchall() == []


@pytest.mark.parametrize("form", cases(FORMS, *EVERYDAY), indirect=True)
def test_a_model_that_breaks_takes_no_vector_of_a_text_that_is_still_the_same(
    connection: psycopg.Connection,
    sqlalchemy_engine: Engine,
    database: str,
    worker: HandWorker,
    form: dict[str, Any],
    index: RegisteredIndex,
) -> None:
    worker.embedder.poison = ""  # in every text
    requeue_rows(connection, index, None)
    worker.work()
    assert search(sqlalchemy_engine, "cat", "dense", **form).keys() == {1, 2, 3}
    assert connection.execute("SELECT count(*) FROM embedsql.dead_letter").fetchone() == (3,)

    worker.embedder.poison = None
    runs = len(worker.embedder.texts)
    connection.execute("UPDATE embedsql.failure SET dead = false, next_attempt_at = now()")
    worker.work()
    assert len(worker.embedder.texts) == runs + 3  # not what is stored
    assert verify_all(database).ok


def test_other_passages_of_a_refused_row_keep_their_vectors(
    connection: psycopg.Connection, sqlalchemy_engine: Engine, database: str
) -> None:
    create_article_table(connection)
    index = add_index(connection, text=("body",), chunking=Chunking(tokens=16, overlap=0))
    long = "\n\n".join(f"Paragraph {n} tells of number{n} and of nothing else." for n in range(20))
    made = HandWorker(database, index, embedder=RecordingEmbedder("poison"))
    for last in ("harmless", "poison", "poison and venom"):
        connection.execute(
            "INSERT INTO article (id, body) VALUES (1, %s) "
            "ON CONFLICT (id) DO UPDATE SET body = EXCLUDED.body",
            [f"{long}\n\nAt the end there is {last}."],
        )
        made.work()
    made.close()

    chunks = stored_chunks(connection, index)
    with_vector = connection.execute(WITH_VECTOR).fetchall()
    assert len(with_vector) == len(chunks) - 1 > 5
    assert len(made.embedder.texts) == len(chunks)  # each once, the harmless end included
    hit = search(sqlalchemy_engine, "venom", "hybrid")[1]
    assert hit.similarity is not None
    assert "venom" in search(sqlalchemy_engine, "venom", "lexical")[1].snippet


def test_a_row_that_was_left_half_done_is_not_taken_for_refused(
    connection: psycopg.Connection, database: str
) -> None:
    create_article_table(connection)
    index = add_index(connection, text=("body",), chunking=Chunking(tokens=16, overlap=0))
    long = "\n\n".join(f"Paragraph {n} tells of number{n} and of nothing else." for n in range(20))
    connection.execute("INSERT INTO article (body) VALUES (%s)", [f"{long}\n\nThis is poison."])
    embedder = RecordingEmbedder("poison", TextRejectedError("refused"))
    embedder.call_characters = 10  # a text at a time
    made = HandWorker(database, index, embedder=embedder)
    prepared = made.ingest.prepare(made.connection, made.claim())
    answers = iter([False] * 12)
    failures = made.ingest.embed(prepared, lambda: next(answers, True))
    made.close()

    assert failures == []


def test_a_refused_row_that_somebody_holds_is_tried_again(
    connection: psycopg.Connection, database: str
) -> None:
    create_article_table(connection)
    index = add_index(connection, text=("body",), storage="column", chunking=None)
    embedder = RecordingEmbedder("poison", TextRejectedError("refused"))
    made = HandWorker(database, index, embedder=embedder)
    connection.execute("INSERT INTO article (body) VALUES ('the cat')")
    made.work()
    connection.execute("UPDATE article SET body = 'poison'")
    prepared = made.ingest.prepare(made.connection, made.claim())
    with connection.transaction():
        connection.execute("SELECT FROM article FOR UPDATE")
        made.ingest.write(made.connection, prepared, made.ingest.embed(prepared))
    assert connection.execute("SELECT dead FROM embedsql.failure").fetchall() == [(False,)]
    connection.execute("UPDATE embedsql.failure SET next_attempt_at = now()")
    made.work()
    made.close()

    assert connection.execute(WITH_VECTOR).fetchall() == []


def test_rows_that_swap_their_keys_do_not_swap_their_vectors(
    connection: psycopg.Connection, sqlalchemy_engine: Engine, database: str
) -> None:
    create_article_table(connection)
    form: dict[str, Any] = {"storage": "column", "chunking": None}
    index = add_index(connection, text=("body",), **form)
    made = HandWorker(database, index)
    connection.execute("INSERT INTO article (id, body) VALUES (1, 'the cat'), (2, 'a dog barks')")
    made.work()
    for was, becomes in ((1, 3), (2, 1), (3, 2)):
        connection.execute("UPDATE article SET id = %s WHERE id = %s", [becomes, was])
    made.work()
    made.close()

    assert search(sqlalchemy_engine, "the cat", "dense", **form)[2].dense_rank == 1


@pytest.mark.parametrize("form", ["full", "column"], indirect=True)
def test_a_refused_row_that_takes_its_workers_down_is_found_by_the_words_it_has(
    connection: psycopg.Connection,
    sqlalchemy_engine: Engine,
    worker: HandWorker,
    index: RegisteredIndex,
    form: dict[str, Any],
) -> None:
    def found(words: str) -> list[int]:
        return list(search(sqlalchemy_engine, words, "lexical", **form))

    connection.execute("UPDATE article SET body = 'a poison frog' WHERE id = 1")
    worker.work()
    log = ChangeLog(index, "a", lease=-1.0)
    for _ in range(2):
        requeue_rows(connection, index, "id = 1")
        while log.claim(connection, 1):
            pass
        dead = connection.execute("SELECT key, error_class FROM embedsql.dead_letter")
        assert dead.fetchall() == [(1, "WorkerCrash")]
        assert (found("frog"), found("cat")) == ([1], [])

    connection.execute("UPDATE article SET body = 'a poison toad' WHERE id = 1")
    while log.claim(connection, 1):
        pass
    assert (found("frog"), found("toad")) == ([], [])
