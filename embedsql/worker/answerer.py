"""Answers the mailbox: embeds the queries of search functions and of processes without a model.

A thread with a connection and models of its own, so that a question never waits for a batch of
documents, and no model is run from two threads.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import namedtuple_row

from embedsql import registry, sqlfile
from embedsql.database import is_pooled, storable
from embedsql.embedders import Embedder, EmbedderOptions, check_vectors, load_embedder, options_of
from embedsql.embedders.base import Vectors
from embedsql.embedders.sparse import terms_of
from embedsql.errors import (
    ConfigurationError,
    ConnectionFailedError,
    EmbedsqlError,
    SpaceMismatchError,
)
from embedsql.naming import QUERY_CHANNEL
from embedsql.registry import RegisteredIndex
from embedsql.search.words import meant_text
from embedsql.worker.connections import open_listening
from embedsql.worker.waker import Waker

log = logging.getLogger(__name__)

MOST_AT_ONCE = 16
CLAIM_SECONDS = 5.0  # until another worker takes over the questions of one that died
POLL_SECONDS = 1.0
POOLED_POLL_SECONDS = 0.02  # through a pooler nobody is notified
PAUSE_SECONDS = 2.0
KEPT = 10_000  # vectors of queries, 16 MB of them at 384 dimensions


class Question(NamedTuple):
    """One row of the mailbox."""

    index_id: int
    digest: bytes
    query: str


class Answerer:
    """A thread that answers until its block ends; a context manager.

    Trouble of its own is logged and is nobody else's: who asks is served the lexical lane.

    Args:
        conninfo: Where the database is.
        api_key: For ``openai:`` models.
        threads: Of a local model; ``None``: its own choice.
        kept: Most query vectors that stay in the database.
    """

    def __init__(
        self, conninfo: str, *, api_key: str | None, threads: int | None, kept: int = KEPT
    ) -> None:
        self._conninfo = conninfo
        self._api_key = api_key
        self._threads = threads
        self._kept = kept
        self._embedders: dict[tuple[str, EmbedderOptions], Embedder] = {}
        self._stopped = threading.Event()
        self._waker = Waker()
        self._thread = threading.Thread(target=self._run, name="embedsql-answerer", daemon=True)

    def __enter__(self) -> Answerer:
        self._waker.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopped.set()
        self._waker.wake()
        self._thread.join()
        self._waker.__exit__(*exc)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                opened = open_listening(self._conninfo, QUERY_CHANNEL)
                with contextlib.closing(opened) as connection:
                    self._serve(connection)
            except (psycopg.Error, EmbedsqlError, ConnectionFailedError) as error:
                log.warning("queries are not answered for now: %s", error)
                self._stopped.wait(PAUSE_SECONDS)

    def _serve(self, connection: psycopg.Connection) -> None:
        poll = POOLED_POLL_SECONDS if is_pooled(connection) else POLL_SECONDS
        self._load_models(connection)
        while not self._stopped.is_set():
            questions = self._claim(connection)
            if questions:
                self._answer(connection, questions)
            else:
                self._waker.wait(connection, poll)

    def _load_models(self, connection: psycopg.Connection) -> None:
        """Before the first question, which should not wait for it."""
        for index in registry.all_indexes(connection):
            if self._stopped.is_set():
                return
            with contextlib.suppress(EmbedsqlError):  # the lane reports it, and so does the answer
                self._embedder(index)

    def _claim(self, connection: psycopg.Connection) -> list[Question]:
        cursor = connection.cursor(row_factory=namedtuple_row)
        cursor.execute(
            sqlfile.statement(__package__, "claim_queries.sql"),
            {"lease": CLAIM_SECONDS, "most": MOST_AT_ONCE},
        )
        return [Question(*row) for row in cursor.fetchall()]

    def _answer(self, connection: psycopg.Connection, questions: Sequence[Question]) -> None:
        indexes = {index.index_id: index for index in registry.all_indexes(connection)}
        of_index: Mapping[int, list[Question]] = defaultdict(list)
        for question in questions:
            of_index[question.index_id].append(question)
        for index_id, asked in of_index.items():
            try:
                self._answer_index(connection, indexes[index_id], asked)
            except KeyError:
                self._refuse(connection, asked, "the index is gone")
            except psycopg.Error:
                raise
            except Exception as error:  # whatever a model raises
                log.warning("queries could not be embedded: %s", error)
                self._refuse(connection, asked, f"the query could not be embedded: {error}")

    def _answer_index(
        self, connection: psycopg.Connection, index: RegisteredIndex, asked: Sequence[Question]
    ) -> None:
        embedder = self._embedder(index)
        space = index.space or registry.adopt_space(
            connection, index.index_id, embedder.space.label
        )
        if space is None:
            raise ConfigurationError(f"a migration holds {index.spec.name!r}, which is new")
        if space != embedder.space.label:
            raise SpaceMismatchError(
                f"the vectors of {index.spec.name!r} are of another space than the model gives now"
            )
        texts = [meant_text(question.query) for question in asked]
        vectors = check_vectors(
            embedder.embed_queries(texts), len(asked), embedder.space.dimensions
        )
        sparse = terms_of(embedder)
        terms = [None] * len(asked) if sparse is None else sparse.of_queries(texts)
        self._store(connection, asked, space, vectors, terms)

    def _store(
        self,
        connection: psycopg.Connection,
        asked: Sequence[Question],
        space: str,
        vectors: Vectors,
        terms: Sequence[str | None],
    ) -> None:
        answers: list[dict[str, Any]] = [
            {**question._asdict(), "space": space, "vector": vector.tolist(), "terms": own}
            for question, vector, own in zip(asked, vectors, terms, strict=True)
        ]
        with connection.transaction():
            connection.execute("SET LOCAL synchronous_commit = off")
            cursor = connection.cursor()
            for answer in answers:
                cursor.execute(sqlfile.statement(__package__, "answer_query.sql"), answer)
            cursor.execute(
                sqlfile.statement(__package__, "forget_queries.sql"), {"kept": self._kept}
            )

    def _refuse(self, connection: psycopg.Connection, asked: Sequence[Question], why: str) -> None:
        for question in asked:
            connection.execute(
                sqlfile.statement(__package__, "refuse_query.sql"),
                {**question._asdict(), "error": storable(connection, why)},
            )

    def _embedder(self, index: RegisteredIndex) -> Embedder:
        options = options_of(index.spec, api_key=self._api_key, threads=self._threads)
        key = (index.spec.model, options)
        if key not in self._embedders:
            self._embedders[key] = load_embedder(index.spec.model, options)
        return self._embedders[key]
