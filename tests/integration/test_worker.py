"""The worker as a whole: its threads, in which a batch passes from hand to hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import psycopg
import pytest

from embedsql import status
from embedsql.database import connect
from embedsql.embedders import EmbedderOptions
from embedsql.errors import ProviderError
from embedsql.store import write
from embedsql.worker import Worker, WorkerOptions
from embedsql.worker.report import WorkerReport
from tests.factories import (
    RecordingEmbedder,
    add_index,
    create_article_table,
    drain,
    stored_chunks,
    until,
    verify_all,
)

TERMINATE = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'embedsql worker' AND datname = current_database()"""


class WatchedEmbedder(RecordingEmbedder):
    """Lets a test do something before each call; one text a call."""

    call_characters = 1

    def __init__(self, before: Callable[[int], object] = lambda run: None) -> None:
        super().__init__()
        self.before = before

    def embed_documents(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.before(self.runs)
        return super().embed_documents(texts)


@pytest.fixture
def served_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[RecordingEmbedder], None]:
    """Which embedder workers get, whatever the model's name."""

    def serve(embedder: RecordingEmbedder) -> None:
        monkeypatch.setattr("embedsql.worker.lanes.load_embedder", lambda *given: embedder)

    return serve


def test_drain_embeds_the_rows_that_exist(connection: psycopg.Connection, database: str) -> None:
    create_article_table(connection)
    connection.execute("INSERT INTO article (title, body) VALUES ('one', 'two'), ('', ' ')")
    add_index(connection)

    report = drain(database)

    assert report.saved == 2
    assert connection.execute("SELECT id, chunk FROM article_search").fetchall() == [
        (1, "one\n\ntwo")
    ]
    assert verify_all(database).ok


def test_a_drained_worker_may_run_again(connection: psycopg.Connection, database: str) -> None:
    create_article_table(connection)
    index = add_index(connection)
    worker = Worker(database, WorkerOptions(drain=True))
    for text in ("one", "two"):
        connection.execute("INSERT INTO article (title) VALUES (%s)", [text])
        worker.run()

    assert stored_chunks(connection, index) == [(1, "one"), (2, "two")]
    assert worker.report.saved == 2


def test_a_change_does_not_wait_for_the_backfill_that_is_being_embedded(
    connection: psycopg.Connection,
    database: str,
    served_by: Callable[[RecordingEmbedder], None],
) -> None:
    create_article_table(connection)
    connection.execute("INSERT INTO article (title) SELECT 'old' || n FROM generate_series(1, 9) n")
    add_index(connection)
    held = threading.Event()

    def change_at_the_third(run: int) -> None:
        if run == 2:
            connection.execute("INSERT INTO article (title) VALUES ('changed')")
            held.wait(1)  # until the worker has had time to claim it

    embedder = WatchedEmbedder(change_at_the_third)
    served_by(embedder)

    drain(database)

    assert embedder.texts[3] == "changed"
    assert len(embedder.texts) == 10
    assert verify_all(database).ok


def test_equal_texts_of_two_batches_at_once_are_embedded_once(
    connection: psycopg.Connection,
    database: str,
    served_by: Callable[[RecordingEmbedder], None],
) -> None:
    create_article_table(connection)
    connection.execute("INSERT INTO article (title) SELECT 'the same' FROM generate_series(1, 8)")
    add_index(connection)
    embedder = WatchedEmbedder()
    served_by(embedder)

    report = drain(database, batch_size=2)

    assert embedder.texts == ["the same"]
    assert (report.embedded, report.reused, report.batches) == (1, 7, 4)


def test_terminated_connections_cost_no_text_a_second_run_of_the_model(
    connection: psycopg.Connection,
    database: str,
    served_by: Callable[[RecordingEmbedder], None],
) -> None:
    create_article_table(connection)
    connection.execute("INSERT INTO article (title) SELECT 'n' || n FROM generate_series(1, 24) n")
    index = add_index(connection)
    embedder = WatchedEmbedder(lambda run: connection.execute(TERMINATE) if run % 5 == 0 else None)
    served_by(embedder)

    report = drain(database, batch_size=4)

    assert sorted(embedder.texts) == sorted(f"n{n}" for n in range(1, 25))
    assert len(stored_chunks(connection, index)) == 24
    assert report.failed == 0
    assert verify_all(database).ok


def test_one_providers_trouble_is_nobody_elses(
    connection: psycopg.Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_article_table(connection)
    connection.execute("INSERT INTO article (title) SELECT 'n' || n FROM generate_series(1, 6) n")
    add_index(connection, name="a_search", model="openai:away", base_url="http://away.test")
    add_index(connection, name="b_search")
    seen: list[int] = []
    away = RecordingEmbedder(poison="", error=ProviderError("no answer", retry_after=0.5))
    away.provider = "away"
    here = RecordingEmbedder()

    def heal_when_the_other_is_done() -> None:
        seen.append(len(connection.execute("SELECT FROM b_search").fetchall()))
        if seen[-1] == 6:
            away.poison = None

    embed = away.embed_documents

    def watched(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        heal_when_the_other_is_done()
        return embed(texts)

    monkeypatch.setattr(away, "embed_documents", watched)

    def load(model: str, options: EmbedderOptions) -> RecordingEmbedder:
        return away if model == "openai:away" else here

    monkeypatch.setattr("embedsql.worker.lanes.load_embedder", load)

    report = drain(database, batch_size=3)

    assert seen[-1] == 6
    assert (report.saved, report.failed) == (12, 0)
    assert connection.execute("SELECT count(*) FROM embedsql.failure").fetchone() == (0,)
    assert verify_all(database).ok


@pytest.mark.parametrize("backfilled", [True, False])
@pytest.mark.exhaustive
def test_a_table_that_stays_locked_keeps_no_other_index_waiting(
    connection: psycopg.Connection, database: str, backfilled: bool
) -> None:
    create_article_table(connection)
    connection.execute("CREATE TABLE note (id int PRIMARY KEY, body text)")
    if not backfilled:
        article = add_index(connection)
    connection.execute("INSERT INTO article (title) VALUES ('locked')")
    if backfilled:
        article = add_index(connection)
    note = add_index(connection, "note", text=("body",))
    worker = Worker(database, WorkerOptions(poll_interval=0.1))
    running = threading.Thread(target=worker.run)
    try:
        with connect(database) as locker, locker.transaction():
            locker.execute("LOCK TABLE article IN ACCESS EXCLUSIVE MODE")
            running.start()
            connection.execute("INSERT INTO note VALUES (1, 'free')")
            until(lambda: stored_chunks(connection, note) == [(1, "free")])
        until(lambda: stored_chunks(connection, article) == [(1, "locked")])
    finally:
        worker.stop()
        running.join()


WAITING = """SELECT pid, xact_start FROM pg_stat_activity
WHERE application_name = 'embedsql worker' AND datname = current_database()
  AND wait_event_type = 'Lock'"""


def test_a_batch_is_written_while_another_waits_for_a_lock(
    connection: psycopg.Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = write._SETTINGS.replace("'5s'", "'60s'")
    assert patient != write._SETTINGS
    monkeypatch.setattr(write, "_SETTINGS", patient)
    create_article_table(connection)
    index = add_index(connection, lexical=None)
    worker = Worker(database, WorkerOptions(poll_interval=0.1))
    running = threading.Thread(target=worker.run)
    try:
        with connect(database) as other, other.transaction(force_rollback=True):
            other.execute(
                "INSERT INTO embedsql.article_search_chunk_1 (key_1, chunk_seq, start_offset, "
                "content_hash, chunk, embedding) "
                "VALUES (1, 0, 0, '', 'in the way', array_fill(1, ARRAY[64])::vector)"
            )
            running.start()
            connection.execute("INSERT INTO article (id, title) VALUES (1, 'held')")
            until(lambda: connection.execute(WAITING).fetchone() is not None)
            held = connection.execute(WAITING).fetchall()
            connection.execute("INSERT INTO article (id, title) VALUES (2, 'free')")
            until(lambda: stored_chunks(connection, index) == [(2, "free")])
            assert connection.execute(WAITING).fetchall() == held
        until(lambda: stored_chunks(connection, index) == [(1, "held"), (2, "free")])
    finally:
        worker.stop()
        running.join()


def test_a_running_worker_says_that_it_lives_and_takes_its_word_back(
    connection: psycopg.Connection, database: str
) -> None:
    create_article_table(connection)
    add_index(connection)
    worker = Worker(database, WorkerOptions(lease=0.3, poll_interval=0.1))
    running = threading.Thread(target=worker.run)
    running.start()
    try:
        connection.execute("INSERT INTO article (title) VALUES ('one'), ('two')")
        until(lambda: any(one.saved == 2 for one in status.workers(connection)))
        (said,) = status.workers(connection)
        assert said.worker == worker.name
        assert said.rates["article_search"] > 0
        assert status.index_status(connection)[0].rate > 0
    finally:
        worker.stop()
        running.join()
    assert status.workers(connection) == []


def test_the_vector_index_is_built_after_the_backfill_while_changes_go_on(
    connection: psycopg.Connection, database: str
) -> None:
    create_article_table(connection)
    connection.execute("INSERT INTO article (title) SELECT 'n' || n FROM generate_series(1, 40) n")
    add_index(connection)
    worker = Worker(database, WorkerOptions(batch_size=4, poll_interval=0.1))
    built = "SELECT to_regclass('embedsql.article_search_chunk_1_ann') IS NOT NULL"

    def change_for_ever(report: WorkerReport) -> None:
        with connect(database) as other:
            other.execute("UPDATE article SET title = title || '.' WHERE id <= 4")
            if other.execute(built).fetchone() == (True,) or report.batches > 500:
                worker.stop()

    worker._on_batch = change_for_ever

    report = worker.run()

    assert connection.execute(built).fetchone() == (True,)
    assert report.batches < 500
