"""One index, searched by its registered declaration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sqlalchemy import select, text, tuple_
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from embedsql.database import engine
from embedsql.embedders import Embedder
from embedsql.explain import Explanation, explain_search
from embedsql.key import shown_key
from embedsql.question import embed_question
from embedsql.registered.found import Found, strategy_of
from embedsql.registered.generation import SearchedGeneration
from embedsql.rerank import Reranker
from embedsql.rerank.fetched import rerank_search, reranked_rows
from embedsql.search import Mode, Query, SearchTuning, Shaping, search_statement

Where = str | Sequence[str] | None
Asked = tuple[Query, str | None]  # and why it searches words only although more was asked for

# SQLSTATEs of a search during a switch: its vector is of the old space, its generation retired
SWITCHED = frozenset({"ES002", "40001"})
MOST_SWITCHES = 3  # in one search


class RegisteredSearch:
    """Searches one index by its registered declaration; a context manager.

    Args:
        conninfo: Where the database is.
        index: The index's name.
        api_key: For an ``openai:`` model.
        generation: Search this one. ``None``: the one that serves, also after it was switched.

    Raises:
        IndexNotFoundError: There is none of this name.
    """

    def __init__(
        self,
        conninfo: str,
        index: str,
        api_key: str | None = None,
        *,
        generation: int | None = None,
    ) -> None:
        self._generation = SearchedGeneration(conninfo, index, api_key, generation)
        self._engine = engine(conninfo)
        self._session = Session(self._engine)

    def __enter__(self) -> RegisteredSearch:
        return self

    def __exit__(self, *exc: object) -> None:
        self._session.close()
        self._engine.dispose()

    @property
    def tuning(self) -> SearchTuning:
        """What the registry keeps of query-time settings, for searches that name none."""
        return self._generation.tuning

    @property
    def embedder(self) -> Embedder:
        """The index's model."""
        return self._generation.embedder

    @property
    def best_mode(self) -> Mode:
        """Both lanes, or the only one that the index has."""
        return self._generation.target.best_mode()

    def search(
        self,
        query: str | None,
        *,
        vector: Any | None = None,
        mode: Mode | None = None,
        limit: int = 10,
        where: Where = None,
        tuning: SearchTuning | None = None,
        rerank: Reranker | None = None,
        top: int = 50,
        budget: float | None = None,
        blend: float | None = None,
    ) -> Found:
        """Run one search; again where the index was switched to another generation meanwhile.

        Args:
            query: What is looked for; a dense search with a vector does without.
            vector: The query, embedded already, shape (dimensions,).
            mode: Which lanes, and no others. ``None``: the best that can be had, which is words
                only while the model's provider fails; the result says so.
            limit: Most rows.
            where: SQL conditions on the source's columns, from someone who may run SQL anyway.
            tuning: Query-time settings. ``None``: those kept for the index, else the defaults.
            rerank: Orders the rows again; see ``SemanticIndex.fetch``, and so for what follows.
            top: How many rows it reads.
            budget: Seconds that it may take.
            blend: How much it counts.

        Raises:
            QueryError: The query cannot be run.
            EmbeddingError: It cannot be embedded, and the mode that was named needs that.
        """
        options = rerank_search(limit, rerank, top, {})
        shaping = Shaping(neighbours=options.get("neighbours"))
        asked = partial(self._query, query, mode, options["limit"], where, shaping, vector, tuning)
        (searched, words_only), rows = self._rows_of_one_generation(asked)
        ordered = reranked_rows(
            query or "", rows, limit, rerank, top=top, budget=budget, blend=blend
        )
        key = self._generation.index.spec.key
        hits = [(shown_key(key, row[:-1]), row[-1]) for row in ordered]
        strategy = strategy_of(hits, searched.mode)
        return Found(
            hits,
            "hybrid" if words_only is not None else searched.mode,
            strategy,
            # an approximate index that came back short was answered exactly by the same statement
            (len(hits) == limit or strategy != "ann") and words_only is None,
            words_only,
            ordered.reranked,
            None if rerank is None else ordered.why_not,
        )

    def explain(
        self,
        query: str,
        *,
        key: Any = None,
        mode: Mode | None = None,
        limit: int = 10,
        where: Where = None,
        tuning: SearchTuning | None = None,
    ) -> Explanation:
        """How the hits of a search came about, and why a row is not there.

        Args:
            query: See ``search``, and so for the others.
            key: Of the row in question; see ``SemanticIndex.explain``.
            mode: See ``search``.
            limit: See ``search``.
            where: Each condition is evaluated by itself.
            tuning: See ``search``.

        Raises:
            QueryError: The query cannot be run, or the key does not fit the index.
        """
        asked, _ = self._query(query, mode, limit, where, Shaping(), tuning=tuning)
        with self._session.begin():
            return explain_search(
                self._session,
                self._generation.index.spec,
                self._generation.target,
                asked,
                key=key,
                condition_words=_conditions(where),
            )

    def warm_up(self, mode: Mode) -> None:
        """Load the model and open the connection, so that neither is timed."""
        self.search("warm up", mode=mode)

    def _rows_of_one_generation(self, ask: Callable[[], Asked]) -> tuple[Asked, Sequence[Any]]:
        switches = 0
        while True:
            try:
                asked = ask()
                return asked, self._rows(asked[0])
            except DBAPIError as error:
                # after a switch and a rollback the same generation serves again, and yet it failed
                passing = getattr(error.orig, "sqlstate", None) in SWITCHED
                switches += 1
                if not (self._generation.was_switched() or passing) or switches > MOST_SWITCHES:
                    raise

    def _rows(self, asked: Query) -> Sequence[Any]:
        with self._session.begin():
            return self._session.execute(search_statement(self._generation.target, asked)).all()

    def _query(
        self,
        query: str | None,
        mode: Mode | None,
        limit: int,
        where: Where,
        shaping: Shaping,
        vector: Any | None = None,
        tuning: SearchTuning | None = None,
    ) -> Asked:
        searched = self._generation
        asked = embed_question(
            searched.target, lambda: searched.query_vectors, query, mode, vector=vector
        )
        return Query(
            text=query,
            vector=asked.vector,
            vector_dimensions=searched.index.spec.dimensions,
            terms=asked.terms,
            space=asked.space,
            mode=asked.mode,
            limit=limit,
            where=[self._condition(one) for one in _conditions(where)],
            tuning=tuning or self.tuning,
            shaping=shaping,
        ), asked.words_only

    def _condition(self, where: str) -> ColumnElement[bool]:
        # a subquery, in which only the source's columns are in scope, so that none is ambiguous
        source = self._generation.target.source
        # text() would take a colon for a bind parameter
        raw = text("(" + where.replace(":", r"\:") + ")")
        inner = select(*source.key).where(raw).correlate(None)
        key = source.key[0] if len(source.key) == 1 else tuple_(*source.key)
        return key.in_(inner)


def _conditions(where: Where) -> Sequence[str]:
    if where is None:
        return []
    return [where] if isinstance(where, str) else where
