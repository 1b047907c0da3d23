"""Templates and long texts, from the source row to the stored chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from embedsql import Chunking
from embedsql.registered import RegisteredSearch
from embedsql.registry import RegisteredIndex, find_index
from embedsql.requeue import requeue_rows
from embedsql.status import index_status
from embedsql.verify import verify_index
from tests.factories import (
    HandWorker,
    RecordingEmbedder,
    add_index,
    create_article_table,
    drain,
    stored_chunks,
    verify_all,
)

Start = Callable[..., tuple[RegisteredIndex, HandWorker]]
TEMPLATE = "{title}: {chunk}"


@pytest.fixture
def start(connection: psycopg.Connection, database: str) -> Iterator[Start]:
    """Makes an index on title and body and a worker for it."""
    workers: list[HandWorker] = []

    def make(**options: Any) -> tuple[RegisteredIndex, HandWorker]:
        create_article_table(connection)
        index = add_index(connection, **options)
        workers.append(HandWorker(database, index, embedder=RecordingEmbedder()))
        return index, workers[0]

    yield make
    for worker in workers:
        worker.close()


def write(connection: psycopg.Connection, title: str | None, body: str | None) -> None:
    """Article 1, in place of the one there was."""
    connection.execute(
        "INSERT INTO article (id, title, body) VALUES (1, %s, %s) ON CONFLICT (id) DO UPDATE "
        "SET title = EXCLUDED.title, body = EXCLUDED.body",
        [title, body],
    )


def embedded(worker: HandWorker) -> list[str]:
    """What the model was given since it was last asked."""
    worker.embedder.texts.clear()
    worker.work()
    return worker.embedder.texts


@pytest.mark.parametrize(
    ("title", "body", "content", "chunk"),
    [
        ("Guide", "how to", "Guide: how to", "how to"),
        (None, "how to", ": how to", "how to"),
        ("  ", "how to", ": how to", "how to"),
        ("Guide", None, "Guide", "Guide"),
        ("Guide", " \n", "Guide", "Guide"),
        ("{body} %s", "{title}", "{body} %s: {title}", "{title}"),
    ],
)
def test_a_template_stands_around_what_is_embedded(
    connection: psycopg.Connection,
    start: Start,
    title: str | None,
    body: str | None,
    content: str,
    chunk: str,
) -> None:
    index, worker = start(template=TEMPLATE)
    write(connection, title, body)

    assert embedded(worker) == [content]
    assert stored_chunks(connection, index) == [(1, chunk)]
    assert verify_index(connection, index).ok


def test_a_row_without_any_text_has_no_chunks(connection: psycopg.Connection, start: Start) -> None:
    index, worker = start(template=TEMPLATE)
    write(connection, " ", None)

    assert embedded(worker) == []
    assert stored_chunks(connection, index) == []
    assert verify_index(connection, index).ok


@pytest.mark.parametrize("words", [None, TEMPLATE])
def test_words_that_move_from_one_column_to_the_other_are_a_change(
    connection: psycopg.Connection, start: Start, words: str | None
) -> None:
    index, worker = start(template=words, chunking=Chunking(tokens=16, overlap=0))
    body = "one two three four five six seven eight nine ten " * 3
    write(connection, "zero", body)
    before = embedded(worker)[:]
    write(connection, None, f"zero\n\n{body}")
    after = embedded(worker)

    assert before
    assert after
    assert not set(after) & set(before)
    assert verify_index(connection, index).ok


def test_an_edit_of_the_title_embeds_every_chunk_again(
    connection: psycopg.Connection, start: Start
) -> None:
    _, worker = start(template=TEMPLATE, chunking=Chunking(tokens=12, overlap=0))
    write(connection, "Old", "some plain words follow here. " * 10)
    chunks = len(embedded(worker))
    write(connection, "New", "some plain words follow here. " * 10)

    assert all(text.startswith("New: ") for text in embedded(worker))
    assert chunks > 1


def test_another_template_makes_rows_stale_and_a_requeue_mends_them(
    connection: psycopg.Connection, database: str, start: Start
) -> None:
    index, worker = start(template=TEMPLATE)
    write(connection, "Guide", "how to")
    worker.work()
    connection.execute(
        "UPDATE embedsql.semantic_index SET declaration = declaration || "
        """'{"template": "About {title}. {chunk}"}'"""
    )
    changed = find_index(connection, index.spec.name)

    assert verify_index(connection, changed).stale == 1
    assert requeue_rows(connection, changed, None) == 1
    drain(database)
    assert verify_all(database).ok
    assert stored_chunks(connection, index) == [(1, "how to")]


def test_the_lexical_lane_knows_the_templates_columns(
    connection: psycopg.Connection, database: str, start: Start
) -> None:
    start(template=TEMPLATE, chunking=Chunking(tokens=12, overlap=0))
    write(connection, "Zeppelin", "some plain words follow here. " * 10)
    drain(database)
    with RegisteredSearch(database, "article_search") as searcher:
        found = searcher.search("zeppelin", mode="lexical")

    assert [key for key, _ in found.hits] == [1]


def test_offsets_lead_back_into_the_markdown_text(
    connection: psycopg.Connection, start: Start
) -> None:
    index, worker = start(text=("body",), chunking=Chunking(tokens=16, overlap=4))
    body = "# Install\n\n" + "Take the file. " * 9 + "\n\n## Windows\n\n" + "Run the program. " * 9
    write(connection, None, body)
    contents = embedded(worker)
    stored = connection.execute(
        sql.SQL("SELECT start_offset, chunk FROM {} ORDER BY chunk_seq").format(
            sql.Identifier("embedsql", index.names.chunk)
        )
    ).fetchall()

    assert len(stored) > 3
    assert all(body[start:].startswith(chunk) for start, chunk in stored)
    assert any(text.startswith("Install > Windows\n\nRun") for text in contents)


@pytest.mark.parametrize("words", [None, TEMPLATE])
@pytest.mark.exhaustive
def test_a_text_of_ten_megabytes_is_cut_on_the_server_and_counted(
    connection: psycopg.Connection, start: Start, words: str | None
) -> None:
    index, worker = start(template=words, max_characters=20_000)
    body = "Some plain words follow here. " * 350_000
    write(connection, "Guide", body)
    batch = worker.claim()
    row = worker.ingest.prepare(worker.connection, batch).rows[0]
    worker.log.release(worker.connection, batch)
    embedded(worker)

    assert row.chunks
    assert row.chunks[-1].end <= 20_000
    assert row.truncated
    assert index_status(connection)[0].truncated == 1
    assert verify_index(connection, index).ok
    write(connection, "Guide", body + "and an end")
    worker.work()
    assert verify_index(connection, index).ok


@pytest.mark.parametrize(
    ("most", "title", "body", "truncated"),
    [
        (103, "é" * 100, "b", 0),  # with a blank line between
        (102, "é" * 100, "b", 1),
        (100, "é" * 101, None, 1),
        (100, None, "ü" * 100, 0),
        (100, None, "ü" * 101, 1),
        (100, None, " " * 300 + "b", 1),  # even though nothing of it is read
    ],
)
def test_every_cut_is_counted(
    connection: psycopg.Connection,
    start: Start,
    most: int,
    title: str | None,
    body: str | None,
    truncated: int,
) -> None:
    index, worker = start(max_characters=most)
    write(connection, title, body)
    for _ in range(2):  # the second time its text is unchanged
        worker.work()
        assert index_status(connection)[0].truncated == truncated
        assert verify_index(connection, index).ok
        requeue_rows(connection, index, None)
