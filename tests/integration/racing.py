"""Writers and workers on one table at once, both as unruly as they come."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import psycopg
import pytest
from psycopg import IsolationLevel

from embedsql.changelog import Batch, ChangeLog
from embedsql.database import connect
from embedsql.embedders.hashing import HashEmbedder
from embedsql.errors import LeaseLostError
from embedsql.worker import Worker, WorkerOptions

WRITERS = 4
WORKERS = 3
KEYS = 16  # in use at a time
KEYS_A_SECOND = 16  # left as they are, for good: no later change covers up what went wrong
WORDS = "one two three four five six red green blue black white cat dog cow pig hen".split()
OPTIONS = WorkerOptions(batch_size=8, lease=0.1, poll_interval=0.05)
CHANGES = {
    "UPDATE article SET body = %(text)s WHERE id = %(key)s": 8,
    """INSERT INTO article (id, body) VALUES (%(key)s, %(text)s)
       ON CONFLICT (id) DO UPDATE SET body = EXCLUDED.body""": 8,
    "INSERT INTO article (id, body) VALUES (%(key)s, %(text)s) ON CONFLICT DO NOTHING": 4,
    "DELETE FROM article WHERE id = %(key)s": 4,
    "UPDATE article SET id = %(other)s WHERE id = %(key)s": 2,
    "UPDATE article SET tenant_id = tenant_id + 1 WHERE id = %(key)s": 1,
}


class Killed(BaseException):
    """A worker is gone without a word."""


class SlowEmbedder(HashEmbedder):
    """Takes longer than a lease now and then, and sometimes takes its worker down with it."""

    calm = False
    runs = 0

    def embed_documents(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        if not self.calm:
            self.runs += 1
            time.sleep(random.choice([0, 0.02, 0.05, 0.3]))
            if self.runs % 20 == 0:
                raise Killed
        return super().embed_documents(texts)


class Race:
    """Writers and workers on one table, until the time is up."""

    def __init__(self, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.happened: Counter[str] = Counter()
        self.embedder = SlowEmbedder("hash:64")
        self._database = database
        self._started = time.monotonic()
        self._written = threading.Event()
        self._over = threading.Event()
        self._workers: list[Worker] = []
        self._opened: list[psycopg.Connection] = []
        self._errors: list[BaseException] = []
        monkeypatch.setattr("embedsql.worker.lanes.load_embedder", lambda *given: self.embedder)
        monkeypatch.setattr("embedsql.worker.connections.connect", self._connect)
        renew, fence = ChangeLog.renew, ChangeLog.fence

        def forgetful(log: ChangeLog, connection: psycopg.Connection, batch: Batch) -> bool:
            return batch.batch_id % 4 > 0 or renew(log, connection, batch)

        def counting(log: ChangeLog, connection: psycopg.Connection, batch: Batch) -> None:
            try:
                fence(log, connection, batch)
            except LeaseLostError:
                self.happened["lease lost"] += 1
                raise

        monkeypatch.setattr(ChangeLog, "renew", forgetful)
        monkeypatch.setattr(ChangeLog, "fence", counting)

    def run(self, seconds: float, seed: int) -> None:
        tasks: list[Callable[[], None]] = [self._work] * WORKERS
        tasks += [lambda own=seed * 100 + n: self._write(own) for n in range(WRITERS)]  # type: ignore[misc]
        threads = [threading.Thread(target=self._guarded, args=[task]) for task in tasks]
        for thread in threads:
            thread.start()
        self._written.wait(seconds)
        self._written.set()
        self._over.wait(0.5)  # the slow come in late
        self._over.set()
        for worker in self._workers:
            worker.stop()
        for thread in threads:
            thread.join()
        for connection in self._opened:  # those of killed workers
            connection.close()
        self.embedder.calm = True
        if self._errors:
            raise self._errors[0]

    def _write(self, seed: int) -> None:
        """An application: small transactions on few keys."""
        chance = random.Random(seed)
        levels = [IsolationLevel.READ_COMMITTED, IsolationLevel.REPEATABLE_READ]
        with connect(self._database) as connection:
            while not self._written.is_set():
                connection.isolation_level = chance.choice(levels)
                try:
                    with connection.transaction(force_rollback=chance.random() < 0.15):
                        for _ in range(chance.choice([1, 1, 2, 4])):
                            self._change(connection, chance)
                            time.sleep(chance.choice([0, 0, 0.01]))
                    self.happened["transaction"] += 1
                except (psycopg.errors.UniqueViolation, psycopg.OperationalError):
                    self.happened["conflict"] += 1
                time.sleep(chance.random() * 0.02)

    def _change(self, connection: psycopg.Connection, chance: random.Random) -> None:
        first = int((time.monotonic() - self._started) * KEYS_A_SECOND)
        key, other = chance.sample(range(first, first + KEYS), 2)
        # few texts, so that one comes back; blank ones; some of several chunks
        text = " ".join(chance.choices(WORDS, k=chance.choice([0, 1, 1, 1, 2, 30])))
        change = chance.choices(list(CHANGES), weights=list(CHANGES.values()))[0]
        connection.execute(change.encode(), {"key": key, "other": other, "text": text})

    def _work(self) -> None:
        """A worker, and another in its place whenever one is killed."""
        while True:
            worker = Worker(self._database, OPTIONS)
            self._workers.append(worker)
            if self._over.is_set():
                return
            try:
                worker.run()
            except Killed:
                self.happened["killed"] += 1
            self.happened["saved"] += worker.report.saved

    def _guarded(self, task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:
            self._errors.append(error)
            self._written.set()

    def _connect(self, conninfo: str, *, application_name: str) -> psycopg.Connection:
        opened = connect(conninfo, application_name=application_name)
        self._opened.append(opened)
        return opened
