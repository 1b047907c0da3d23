"""A worker whose embedding server limits, fails, dawdles and drops connections."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator

import psycopg
import pytest

from embedsql.embedders.hashing import HashEmbedder
from embedsql.requeue import requeue_rows
from embedsql.worker import Worker, WorkerOptions
from tests.answering import eventually
from tests.factories import add_index, create_article_table, drain, verify_all
from tests.unit.embedding_server import Answer, Provider, items, serving, vector_of

ROWS = 300
BATCH = 64
OUTAGE = (8, 12)  # requests by number, which ask for more patience than a call has


class Chaos:
    """Answers that are as likely to fail as not, with a fixed seed.

    Attributes:
        delivered: How often each text was embedded and the vector sent.
        lost: How many texts were embedded for an answer that broke off.
        kinds: How often it answered in which way.
    """

    def __init__(self) -> None:
        self.delivered: Counter[str] = Counter()
        self.lost = 0
        self.kinds: Counter[str] = Counter()
        self._embedder = HashEmbedder("hash:64")
        self._random = random.Random(20)
        self._lock = threading.Lock()

    def answer(self, texts: list[str]) -> Answer:
        with self._lock:
            kind = self._kind()
            self.kinds[kind] += 1
            if kind in ("well", "slow"):
                self.delivered.update(texts)
            elif kind == "cut off":
                self.lost += len(texts)
        if kind == "limited":
            return Answer({"error": "slow down"}, 429, {"Retry-After": "0.05"})
        if kind == "outage":
            return Answer(b"<html>out of service</html>", 503, {"Retry-After": "5.1"})
        if kind == "failing":
            return Answer({"error": "oops"}, 500)
        if kind == "dropped":
            return Answer(manner="reset")
        if kind == "slow":
            time.sleep(0.2)
        good = items(self._embedder.embed_documents(texts).tolist())
        return Answer(good.body, manner="cut off") if kind == "cut off" else good

    def _kind(self) -> str:
        if self.kinds.total() in OUTAGE:
            return "outage"
        kinds = ["well", "slow", "limited", "failing", "dropped", "cut off"]
        return self._random.choices(kinds, [50, 10, 15, 10, 10, 5])[0]


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as started:
        yield started


@pytest.mark.exhaustive
def test_a_bad_provider_costs_time_and_nothing_else(
    connection: psycopg.Connection, database: str, provider: Provider
) -> None:
    create_article_table(connection)
    chaos = Chaos()
    provider.answer = chaos.answer
    add_index(connection, model="openai:hash", base_url=provider.url, text=("title",))
    connection.execute(
        "INSERT INTO article (title) SELECT 'article number ' || n FROM generate_series(1, %s) n",
        [ROWS],
    )

    report = drain(database, batch_size=BATCH)

    assert (report.saved, report.embedded, report.failed) == (ROWS, ROWS, 0)
    assert report.problems == {}
    assert connection.execute("SELECT count(*) FROM embedsql.failure").fetchone() == (0,)
    verdict = verify_all(database)
    assert verdict.ok
    assert (verdict.missing, verdict.pending) == (0, 0)
    # each text was paid for once, but for those whose answer was lost on the way
    del chaos.delivered["dimensions"]
    assert set(chaos.delivered.values()) == {1}
    assert len(chaos.delivered) == ROWS
    assert chaos.lost <= ROWS / 4
    assert chaos.kinds.keys() == {
        "well", "slow", "limited", "outage", "failing", "dropped", "cut off"
    }  # fmt: skip


def test_a_provider_that_refuses_a_few_texts_keeps_only_those_from_the_index(
    connection: psycopg.Connection, database: str, provider: Provider
) -> None:
    create_article_table(connection)
    embedder = HashEmbedder("hash:64")
    provider.answer = lambda texts: items(embedder.embed_documents(texts).tolist())
    provider.to("refused", Answer({"error": "content policy"}, 400))
    add_index(connection, model="openai:hash", base_url=provider.url, text=("title",))
    connection.execute(
        "INSERT INTO article (title) SELECT 'article ' || n || "
        "CASE WHEN n IN (20, 150) THEN ' refused' ELSE '' END FROM generate_series(1, 200) n"
    )

    report = drain(database)

    assert (report.saved, report.failed) == (198, 2)
    dead = connection.execute("SELECT key, error_class, error FROM embedsql.dead_letter").fetchall()
    assert [(key, name, "content policy" in error) for key, name, error in sorted(dead)] == [
        (20, "TextRejectedError", True),
        (150, "TextRejectedError", True),
    ]
    assert len(provider.payloads) < 60


def test_requeued_texts_are_sent_again_by_a_worker_that_has_just_embedded_them(
    connection: psycopg.Connection, database: str, provider: Provider
) -> None:
    create_article_table(connection)
    index = add_index(
        connection,
        model="openai:small",
        base_url=provider.url,
        dimensions=len(vector_of("")),
        text=("title",),
    )
    connection.execute("INSERT INTO article (title) VALUES ('asked for anew')")
    worker = Worker(database, WorkerOptions(poll_interval=0.05, queries=False))
    running = threading.Thread(target=worker.run)
    running.start()
    try:
        eventually(lambda: worker.report.saved == 1)
        requeue_rows(connection, index, None)
        eventually(lambda: worker.report.saved == 2)
    finally:
        worker.stop()
        running.join()

    assert provider.inputs().count(["asked for anew"]) == 2
    assert verify_all(database).ok
