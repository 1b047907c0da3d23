"""Texts that fail, providers that fail, sources that fail: each alone, and none for ever."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import psycopg
import pytest

from embedsql.errors import ProviderError, TextRejectedError
from tests.factories import (
    HandWorker,
    RecordingEmbedder,
    add_index,
    create_article_table,
    drain,
    verify_all,
)

FAILURES = "SELECT key, attempts, dead, error_class FROM embedsql.failure ORDER BY key::text"
DUE = "UPDATE embedsql.failure SET next_attempt_at = now() WHERE next_attempt_at IS NOT NULL"
STORED = (
    "SELECT key_1, chunk FROM embedsql.article_search_chunk_1 WHERE embedding IS NOT NULL "
    "ORDER BY key_1"
)
MAX_ATTEMPTS = 5


@pytest.fixture
def worker(connection: psycopg.Connection, database: str) -> Iterator[HandWorker]:
    """A worker on an index on ``article.title``, whose embedder refuses the word poison."""
    create_article_table(connection)
    index = add_index(connection, text=("title",))
    made = HandWorker(database, index, embedder=RecordingEmbedder(poison="poison"))
    yield made
    made.close()


def write(connection: psycopg.Connection, *titles: str | None) -> None:
    """Articles with these titles, from 1 on, in place of those there were."""
    connection.execute("DELETE FROM article WHERE id > %s", [len(titles)])
    connection.execute(
        "INSERT INTO article (id, title) SELECT n, t FROM unnest(%s::text[]) WITH ORDINALITY "
        "AS u (t, n) ON CONFLICT (id) DO UPDATE SET title = EXCLUDED.title",
        [list(titles)],
    )


def test_a_failing_text_is_alone_with_its_failure(
    connection: psycopg.Connection, database: str, worker: HandWorker
) -> None:
    write(connection, *(f"text {n}" for n in range(1, 31)), "poison", "poison")

    worker.work()

    assert [key for key, _ in connection.execute(STORED).fetchall()] == list(range(1, 31))
    assert connection.execute(FAILURES).fetchall() == [
        (31, 1, False, "ValueError"),
        (32, 1, False, "ValueError"),
    ]
    assert sorted(worker.embedder.texts) == sorted(f"text {n}" for n in range(1, 31))
    assert worker.embedder.runs <= 2 * 5 + 1  # halving 31 distinct texts
    verdict = verify_all(database)
    assert (verdict.missing, verdict.pending, verdict.dead) == (2, 2, 0)


def test_a_text_that_keeps_failing_is_a_dead_letter_until_it_is_edited(
    connection: psycopg.Connection, database: str, worker: HandWorker
) -> None:
    write(connection, "good", "poison")
    for attempt in range(1, MAX_ATTEMPTS + 1):
        worker.work()
        dead = attempt == MAX_ATTEMPTS
        assert connection.execute(FAILURES).fetchall() == [(2, attempt, dead, "ValueError")]
        assert worker.work() == 0  # it waits
        connection.execute(DUE)
    assert worker.work() == 0
    assert worker.log.is_empty(connection)

    write(connection, "good", "poison still")
    worker.work()
    assert connection.execute(FAILURES).fetchall() == [(2, 1, False, "ValueError")]  # starts afresh
    write(connection, "good", "harmless")
    worker.work()

    assert connection.execute(FAILURES).fetchall() == []
    assert connection.execute(STORED).fetchall() == [(1, "good"), (2, "harmless")]
    assert verify_all(database).ok


def test_a_failed_row_that_is_deleted_or_blanked_is_forgotten(
    connection: psycopg.Connection, database: str, worker: HandWorker
) -> None:
    write(connection, "", "poison", "poison")
    worker.work()

    write(connection, "", None)
    worker.work()

    assert connection.execute(FAILURES).fetchall() == []
    assert verify_all(database).ok


def test_an_edit_while_the_text_fails_is_not_charged_for_it(
    connection: psycopg.Connection, database: str, worker: HandWorker
) -> None:
    write(connection, "poison")
    prepared = worker.ingest.prepare(worker.connection, worker.claim())
    failures = worker.ingest.embed(prepared)

    write(connection, "harmless")
    worker.ingest.write(worker.connection, prepared, failures)
    worker.work()

    assert connection.execute(STORED).fetchall() == [(1, "harmless")]
    assert connection.execute(FAILURES).fetchall() == []
    assert verify_all(database).ok


def test_a_rejected_text_is_dead_at_once_and_keeps_the_vectors_it_had_from_nobody(
    connection: psycopg.Connection, database: str, worker: HandWorker
) -> None:
    worker.embedder.error = TextRejectedError("x" * 3000 + "\0")
    write(connection, "poison")

    worker.work()

    assert connection.execute(FAILURES).fetchall() == [(1, 1, True, "TextRejectedError")]
    assert connection.execute("SELECT error FROM embedsql.dead_letter").fetchall() == [
        ("x" * 1000,)
    ]


def test_an_error_whose_words_no_database_takes_is_stored_all_the_same(
    connection: psycopg.Connection, worker: HandWorker
) -> None:
    worker.embedder.error = ValueError("half a \ud83d smiley")
    write(connection, "poison", "good")

    worker.work()

    assert connection.execute(FAILURES).fetchall() == [(1, 1, False, "ValueError")]


def test_a_providers_trouble_charges_no_row(
    connection: psycopg.Connection,
    database: str,
    worker: HandWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(connection, "a", "b")
    broken = RecordingEmbedder(poison="", error=ProviderError("429", retry_after=0.01))
    embed = broken.embed_documents

    def heal_in_time(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        assert connection.execute(FAILURES).fetchall() == []
        if broken.runs == 2:
            broken.poison = None
        return embed(texts)

    monkeypatch.setattr(broken, "embed_documents", heal_in_time)
    monkeypatch.setattr("embedsql.worker.lanes.load_embedder", lambda *given: broken)
    report = drain(database)

    assert broken.runs == 3
    assert (report.saved, report.failed) == (2, 0)
    assert connection.execute(STORED).fetchall() == [(1, "a"), (2, "b")]
    assert verify_all(database).ok


def test_a_broken_source_does_not_stop_the_others(
    connection: psycopg.Connection, database: str, worker: HandWorker
) -> None:
    connection.execute("CREATE TABLE note (id int PRIMARY KEY, body text)")
    add_index(connection, "note", text=("body",))
    connection.execute("ALTER TABLE article RENAME COLUMN title TO headline")
    connection.execute("INSERT INTO article (headline) VALUES ('a')")
    connection.execute("INSERT INTO note VALUES (1, 'b')")

    report = drain(database)

    assert report.problems.keys() == {"article_search"}
    assert connection.execute("SELECT id, chunk FROM note_search").fetchall() == [(1, "b")]
