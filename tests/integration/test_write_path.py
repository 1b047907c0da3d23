"""From text to stored chunks: what is embedded, and what is not embedded again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from embedsql.choices import Chunking
from embedsql.registry import RegisteredIndex
from embedsql.requeue import requeue_rows
from embedsql.verify import verify_index
from tests.factories import (
    HandWorker,
    RecordingEmbedder,
    add_index,
    create_article_table,
    stored_chunks,
    verify_all,
)


@pytest.fixture
def start(
    connection: psycopg.Connection, database: str
) -> Iterator[Callable[..., tuple[RegisteredIndex, HandWorker]]]:
    """Makes an index on ``article.title`` and a worker for it."""
    workers: list[HandWorker] = []

    def make(**options: Any) -> tuple[RegisteredIndex, HandWorker]:
        create_article_table(connection)
        index = add_index(connection, **({"text": ("title",)} | options))
        workers.append(HandWorker(database, index, embedder=RecordingEmbedder()))
        return index, workers[0]

    yield make
    for worker in workers:
        worker.close()


Start = Callable[..., tuple[RegisteredIndex, HandWorker]]


def write(connection: psycopg.Connection, *titles: str | None) -> None:
    """Articles with these titles, from 1 on, in place of those there were."""
    connection.execute("DELETE FROM article WHERE id > %s", [len(titles)])
    connection.execute(
        "INSERT INTO article (id, title) SELECT n, t FROM unnest(%s::text[]) WITH ORDINALITY "
        "AS u (t, n) ON CONFLICT (id) DO UPDATE SET title = EXCLUDED.title",
        [list(titles)],
    )


@pytest.mark.parametrize("quantization", ["none", "halfvec"])
def test_equal_texts_are_embedded_once(
    connection: psycopg.Connection, database: str, start: Start, quantization: str
) -> None:
    _, worker = start(quantization=quantization)
    write(connection, "same", "same", "other")
    worker.work()
    assert sorted(worker.embedder.texts) == ["other", "same"]

    write(connection, "same", "same", "same", "same", " other\n")
    worker.work()

    assert sorted(worker.embedder.texts) == ["other", "same"]
    distinct = "SELECT chunk, count(DISTINCT embedding), count(*) FROM article_search GROUP BY 1"
    assert sorted(connection.execute(distinct)) == [("other", 1, 1), ("same", 1, 4)]
    assert verify_all(database).ok


def test_an_unchanged_text_is_not_embedded_again_but_acknowledged(
    connection: psycopg.Connection, database: str, start: Start
) -> None:
    _, worker = start()
    write(connection, "a", "b", None)
    worker.work()
    before = connection.execute("SELECT key_1, xmin FROM embedsql.article_search_chunk_1")
    stored = before.fetchall()

    write(connection, "x", "x", "x")
    write(connection, "a", " b ", "")
    worker.work()

    assert worker.embedder.runs == 1
    after = connection.execute("SELECT key_1, xmin FROM embedsql.article_search_chunk_1")
    assert after.fetchall() == stored
    assert verify_all(database).ok


def test_requeued_rows_are_embedded_again(
    connection: psycopg.Connection, database: str, start: Start
) -> None:
    index, worker = start()
    write(connection, "a", "b", "b")
    worker.work()
    worker.embedder.texts.clear()

    assert requeue_rows(connection, index, "id > 1") == 2
    worker.work()

    assert worker.embedder.texts == ["b"]
    assert verify_all(database).ok


def test_what_was_embedded_before_rows_were_requeued_comes_too_late(
    connection: psycopg.Connection, database: str, start: Start
) -> None:
    index, worker = start()
    write(connection, "a")
    worker.work()
    connection.execute("UPDATE article SET title = 'b'")
    unwritten = worker.embed()
    requeue_rows(connection, index, None)
    worker.embedder.texts.clear()
    worker.write(unwritten)

    worker.work()

    assert worker.embedder.texts == ["b"]
    assert verify_all(database).ok


@pytest.mark.parametrize(
    "key", ["id bigint PRIMARY KEY", "id int, part int DEFAULT 7, PRIMARY KEY (id, part)"]
)
@pytest.mark.parametrize("logged", [True, False], ids=["logged", "found by a backfill"])
def test_rows_whose_first_batch_is_in_hand_are_requeued_too(
    connection: psycopg.Connection, database: str, key: str, logged: bool
) -> None:
    connection.execute(f"CREATE TABLE note (body text, {key})".encode())
    if logged:
        index = add_index(connection, "note", text=("body",))
    connection.execute("INSERT INTO note (id, body) VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    if not logged:
        index = add_index(connection, "note", text=("body",))
    worker = HandWorker(database, index)
    unwritten = worker.embed()
    connection.execute("DELETE FROM note WHERE id = 3")

    assert requeue_rows(connection, index, "id > 1") == 1
    worker.embedder.texts.clear()
    worker.write(unwritten)
    worker.work()
    worker.close()

    assert worker.embedder.texts == ["b"]
    assert verify_all(database).ok


def test_a_text_that_shrinks_loses_its_surplus_chunks_and_reuses_the_others(
    connection: psycopg.Connection, database: str, start: Start
) -> None:
    index, worker = start(chunking=Chunking(tokens=8, overlap=0))
    paragraphs = [
        "one two three four five six",
        "red green blue black white",
        "cat dog cow pig hen",
    ]
    write(connection, "\n\n".join(paragraphs))
    worker.work()
    assert stored_chunks(connection, index) == [(1, paragraph) for paragraph in paragraphs]

    write(connection, "\n\n".join(paragraphs[1:]))
    worker.work()
    assert stored_chunks(connection, index) == [(1, paragraph) for paragraph in paragraphs[1:]]
    assert worker.embedder.texts == paragraphs

    write(connection, " \t\n")
    worker.work()
    assert stored_chunks(connection, index) == []
    assert verify_all(database).ok


@pytest.mark.parametrize(("title", "space"), [(None, "\u3000"), ("title", "\u00a0")])
def test_a_long_run_of_wide_spaces_is_a_text_too(
    connection: psycopg.Connection, database: str, start: Start, title: str | None, space: str
) -> None:
    _, worker = start(text=("title", "body"))
    connection.execute(
        "INSERT INTO article (title, body) VALUES (%s, repeat(%s, 6000))", [title, space]
    )

    worker.work()

    assert verify_all(database).ok


DAMAGE = [
    "DELETE FROM embedsql.article_search_chunk_1 WHERE key_1 = 1",
    "UPDATE embedsql.article_search_chunk_1 SET key_1 = 9 WHERE key_1 = 1",
    "DELETE FROM embedsql.article_search_row_1 WHERE key_1 = 1",
    "UPDATE embedsql.article_search_row_1 SET input_hash = '' WHERE key_1 = 1",
    "UPDATE embedsql.article_search_row_1 SET key_1 = 9 WHERE key_1 = 1",
]


def test_verify_mends_what_it_finds(
    connection: psycopg.Connection, database: str, start: Start
) -> None:
    index, worker = start()
    mended = []
    for damage in DAMAGE:
        connection.execute("TRUNCATE article")
        write(connection, "a", "b")
        worker.work()
        connection.execute(damage.encode())

        found = verify_index(connection, index, repair=True)
        worker.work()

        assert not found.ok, damage
        assert found.repaired > 0, damage
        if verify_all(database).ok and stored_chunks(connection, index) == [(1, "a"), (2, "b")]:
            mended.append(damage)

    assert mended == DAMAGE


def test_a_batch_reads_no_table_whole_even_by_plans_from_when_they_were_small(
    connection: psycopg.Connection, start: Start
) -> None:
    _, worker = start(lexical=None)
    connection.execute(
        "ALTER TABLE article SET (autovacuum_enabled = false);"
        "ALTER TABLE embedsql.article_search_row_1 SET (autovacuum_enabled = false);"
        "ALTER TABLE embedsql.article_search_chunk_1 SET (autovacuum_enabled = false)"
    )
    write(connection, *(f"article {number}" for number in range(20)))
    worker.work()
    connection.execute("ANALYZE")
    for number in range(14):  # the driver prepares what is executed often, the server keeps a plan
        write(connection, *(f"article {number} {place}" for place in range(20)))
        worker.work()
    connection.execute(
        "INSERT INTO article (id, title) SELECT n, 'many ' || n FROM generate_series(21, 3000) AS n"
    )
    worker.write(worker.embed())

    before = read_whole(connection, worker)
    worker.write(worker.embed())

    assert read_whole(connection, worker) == before


def read_whole(connection: psycopg.Connection, worker: HandWorker) -> list[tuple[str, int]]:
    """How many rows of each table were read by sequential scans."""
    worker.connection.execute("SELECT pg_stat_force_next_flush()")
    worker.connection.execute("SELECT 1")
    return connection.execute(
        "SELECT relname, seq_tup_read FROM pg_stat_user_tables "
        "WHERE relname ~ '^article(_search_(row|chunk)_1)?$' ORDER BY 1"
    ).fetchall()
