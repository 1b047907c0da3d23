"""Search an index that only the registry knows, as the command line does: no model class needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import select, text, tuple_
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from embedsql.database import connect, engine
from embedsql.embedders import Embedder, load_embedder, options_of
from embedsql.embedders.query_vectors import QueryVectors
from embedsql.errors import IndexNotFoundError
from embedsql.installation import require_installed
from embedsql.registry import RegisteredIndex, find_generations, find_index
from embedsql.search import Hit, Mode, Query, search_statement
from embedsql.search.query import checked_text
from embedsql.search.target import Target, registered_target
from embedsql.search.words import meant_text


@dataclass(frozen=True)
class Found:
    """What a search gave.

    Attributes:
        hits: Keys (a scalar, or for a key of several columns an object) with their hits.
        strategy: ``ann``, ``exact`` or ``lexical``.
        complete: Whether no matching row was left out: there are ``limit`` rows, or all there are.
    """

    hits: Sequence[tuple[Any, Hit]]
    strategy: str
    complete: bool


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
        self._conninfo = conninfo
        self._name = index
        self._generation = generation
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
        self, query: str, *, mode: Mode = "hybrid", limit: int = 10, where: str | None = None
    ) -> Found:
        """Run one search; once more where the index was switched to another generation meanwhile.

        Args:
            query: What is looked for.
            mode: Which lanes.
            limit: Most rows.
            where: An SQL condition on the source's columns, from someone who may run SQL anyway.

        Raises:
            QueryError: The query cannot be run.
        """
        query = checked_text(query)
        try:
            return self._search(query, mode, limit, where)
        except DBAPIError:
            if not self._was_switched():
                raise
            return self._search(query, mode, limit, where)

    def _search(self, query: str, mode: Mode, limit: int, where: str | None) -> Found:
        vectors = None if mode == "lexical" else self._query_vectors
        asked = Query(
            text=query,
            vector=None if vectors is None else vectors.of(meant_text(query)).tolist(),
            space=None if vectors is None else vectors.space,
            mode=mode,
            limit=limit,
            where=self._condition(where),
        )
        with self._session.begin():
            rows = self._session.execute(search_statement(self._target, asked)).all()
        hits = [(self._key(row[:-1]), row[-1]) for row in rows]
        strategy = "lexical" if mode == "lexical" else "exact"
        if hits and mode != "lexical":
            strategy = hits[0][1].strategy or "exact"
        # an approximate index that came back short was answered exactly by the same statement
        return Found(hits, strategy, len(hits) == limit or strategy != "ann")

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

    def _condition(self, where: str | None) -> tuple[ColumnElement[bool], ...]:
        if where is None:
            return ()
        # a subquery, in which only the source's columns are in scope, so that none is ambiguous
        source = self._target.source
        raw = text("(" + where.replace(":", r"\:") + ")")  # a colon is no parameter's here
        inner = select(*source.key).where(raw).correlate(None)
        key = source.key[0] if len(source.key) == 1 else tuple_(*source.key)
        return (key.in_(inner),)

    def _key(self, values: Sequence[Any]) -> Any:
        if len(values) == 1:
            return values[0]
        return {
            column.name: value for column, value in zip(self._index.spec.key, values, strict=True)
        }
