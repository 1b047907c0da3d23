"""Search an index that only the registry knows, as the command line does: no model class needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from sqlalchemy import select, text, tuple_
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from embedsql.database import connect, engine
from embedsql.embedders import Embedder, load_embedder, options_of
from embedsql.embedders.query_vectors import QueryVectors
from embedsql.errors import IndexNotFoundError
from embedsql.explain import Explanation, explain_search
from embedsql.installation import require_installed
from embedsql.registry import RegisteredIndex, find_generations, find_index, stored_tuning
from embedsql.rerank import Reranker
from embedsql.rerank.fetched import rerank_search, reranked_rows
from embedsql.search import Hit, Mode, Query, SearchTuning, Shaping, search_statement
from embedsql.search.query import checked_text
from embedsql.search.target import Target, registered_target
from embedsql.search.words import meant_text

Where = str | Sequence[str] | None

# what searches meet in a switch: vectors of another space, a generation that serves no more
SWITCHED = frozenset({"ES002", "40001"})
MOST_SWITCHES = 3  # in one search


@dataclass(frozen=True)
class Found:
    """What a search gave.

    Attributes:
        hits: Keys (a scalar, or for a key of several columns an object) with their hits.
        strategy: ``ann``, ``exact`` or ``lexical``.
        complete: Whether no matching row was left out: there are ``limit`` rows, or all there are.
        reranked: Whether a reranker ordered them.
        why_not: Why the one that was asked for did not, or not all of them.
    """

    hits: Sequence[tuple[Any, Hit]]
    strategy: str
    complete: bool
    reranked: bool = False
    why_not: str | None = None


class RegisteredSearch:
    """Searches one index by its registered declaration; a context manager.

    ``tuning`` is what the registry keeps of query-time settings, for searches that name none.

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
        self._conninfo = conninfo
        self._name = index
        self._generation = generation
        self.tuning = SearchTuning()
        self._index = self._registered()
        self._api_key = api_key
        self._engine = engine(conninfo)
        self._session = Session(self._engine)

    def __enter__(self) -> RegisteredSearch:
        return self

    def __exit__(self, *exc: object) -> None:
        self._session.close()
        self._engine.dispose()

    def search(
        self,
        query: str | None,
        *,
        vector: Any | None = None,
        mode: Mode = "hybrid",
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
            mode: Which lanes.
            limit: Most rows.
            where: SQL conditions on the source's columns, from someone who may run SQL anyway.
            tuning: Query-time settings. ``None``: those kept for the index, else the defaults.
            rerank: Orders the rows again; see ``SemanticIndex.fetch``, and so for what follows.
            top: How many rows it reads.
            budget: Seconds that it may take.
            blend: How much it counts.

        Raises:
            QueryError: The query cannot be run.
        """
        options = rerank_search(limit, rerank, top, {})
        shaping = Shaping(neighbours=options.get("neighbours"))
        asked = partial(self._query, query, mode, options["limit"], where, shaping, vector, tuning)
        rows = self._rows_of_one_generation(asked)
        ordered = reranked_rows(
            query or "", rows, limit, rerank, top=top, budget=budget, blend=blend
        )
        hits = [(self._key(row[:-1]), row[-1]) for row in ordered]
        strategy = "lexical" if mode == "lexical" else "exact"
        if hits and mode != "lexical":
            strategy = hits[0][1].strategy or "exact"
        # an approximate index that came back short was answered exactly by the same statement
        complete = len(hits) == limit or strategy != "ann"
        why_not = None if rerank is None else ordered.why_not
        return Found(hits, strategy, complete, ordered.reranked, why_not)

    def explain(
        self,
        query: str,
        *,
        key: Any = None,
        mode: Mode = "hybrid",
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
        asked = self._query(query, mode, limit, where, Shaping(), tuning=tuning)
        with self._session.begin():
            return explain_search(
                self._session,
                self._index.spec,
                self._target,
                asked,
                key=key,
                condition_words=_conditions(where),
            )

    def warm_up(self, mode: Mode) -> None:
        """Load the model and open the connection, so that neither is timed."""
        self.search("warm up", mode=mode)

    @cached_property
    def embedder(self) -> Embedder:
        """The index's model."""
        return load_embedder(
            self._index.spec.model, options_of(self._index.spec, api_key=self._api_key)
        )

    @cached_property
    def _query_vectors(self) -> QueryVectors:
        return QueryVectors(self.embedder)

    @cached_property
    def _target(self) -> Target:
        return registered_target(self._index.spec, generation=self._generation)

    def _registered(self) -> RegisteredIndex:
        with connect(self._conninfo) as connection:
            require_installed(connection)
            if self._generation is None:
                self.tuning = SearchTuning.kept(stored_tuning(connection, self._name))
                return find_index(connection, self._name)
            for one in find_generations(connection, self._name):
                if one.generation == self._generation and one.state != "dropping":
                    return one
        raise IndexNotFoundError(f"{self._name!r} has no generation {self._generation}")

    def _was_switched(self) -> bool:
        """Whether another generation serves than the one last searched; if so, it is taken."""
        now = self._registered()
        if now.index_id == self._index.index_id:
            return False
        self._index = now
        for made in ("embedder", "_query_vectors", "_target"):
            self.__dict__.pop(made, None)
        return True

    def _rows_of_one_generation(self, asked: Callable[[], Query]) -> Sequence[Any]:
        switches = 0
        while True:
            try:
                return self._rows(asked())
            except DBAPIError as error:
                # switched there and back, it is the one that was asked, and yet that failed
                passing = getattr(error.orig, "sqlstate", None) in SWITCHED
                switches += 1
                if not (self._was_switched() or passing) or switches > MOST_SWITCHES:
                    raise

    def _rows(self, asked: Query) -> Sequence[Any]:
        with self._session.begin():
            return self._session.execute(search_statement(self._target, asked)).all()

    def _query(
        self,
        query: str | None,
        mode: Mode,
        limit: int,
        where: Where,
        shaping: Shaping,
        vector: Any | None = None,
        tuning: SearchTuning | None = None,
    ) -> Query:
        space = terms = None
        if query is not None:
            query = checked_text(query)
            if vector is None and mode != "lexical":
                vector = self._query_vectors.of(meant_text(query)).tolist()
                space = self._query_vectors.space
            if mode != "dense" and self._target.learned:
                terms = self._query_vectors.terms_of(meant_text(query))
                space = self._query_vectors.space
        return Query(
            text=query,
            vector=vector,
            terms=terms,
            space=space,
            mode=mode,
            limit=limit,
            where=[self._condition(one) for one in _conditions(where)],
            tuning=tuning or self.tuning,
            shaping=shaping,
        )

    def _condition(self, where: str) -> ColumnElement[bool]:
        # a subquery, in which only the source's columns are in scope, so that none is ambiguous
        source = self._target.source
        raw = text("(" + where.replace(":", r"\:") + ")")  # a colon is no parameter's here
        inner = select(*source.key).where(raw).correlate(None)
        key = source.key[0] if len(source.key) == 1 else tuple_(*source.key)
        return key.in_(inner)

    def _key(self, values: Sequence[Any]) -> Any:
        if len(values) == 1:
            return values[0]
        return {
            column.name: value for column, value in zip(self._index.spec.key, values, strict=True)
        }


def _conditions(where: Where) -> Sequence[str]:
    if where is None:
        return []
    return [where] if isinstance(where, str) else where
