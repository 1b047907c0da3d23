"""Search an index that only the registry knows, as the command line does: no model class needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from sqlalchemy import select, text, tuple_
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from embedsql.database import connect, engine
from embedsql.embedders import Embedder, load_embedder, options_of
from embedsql.embedders.query_vectors import QueryVectors
from embedsql.installation import require_installed
from embedsql.registry import RegisteredIndex, find_index, stored_tuning
from embedsql.search import Hit, Mode, Query, SearchTuning, search_statement
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

    ``tuning`` is what the registry keeps of query-time settings, for searches that name none.

    Args:
        conninfo: Where the database is.
        index: The index's name.
        api_key: For an ``openai:`` model.

    Raises:
        IndexNotFoundError: There is none of this name.
    """

    def __init__(self, conninfo: str, index: str, api_key: str | None = None) -> None:
        with connect(conninfo) as connection:
            require_installed(connection)
            self._index: RegisteredIndex = find_index(connection, index)
            self.tuning = _known(stored_tuning(connection, index))
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
        where: str | None = None,
        tuning: SearchTuning | None = None,
    ) -> Found:
        """Run one search.

        Args:
            query: What is looked for; a dense search with a vector does without.
            vector: The query, embedded already, shape (dimensions,).
            mode: Which lanes.
            limit: Most rows.
            where: An SQL condition on the source's columns, from someone who may run SQL anyway.
            tuning: Query-time settings. ``None``: those kept for the index, else the defaults.

        Raises:
            QueryError: The query cannot be run.
        """
        space = None
        if query is not None:
            query = checked_text(query)
            if vector is None and mode != "lexical":
                vector = self._query_vectors.of(meant_text(query)).tolist()
                space = self._query_vectors.space
        asked = Query(
            text=query,
            vector=vector,
            space=space,
            mode=mode,
            limit=limit,
            where=self._condition(where),
            tuning=tuning or self.tuning,
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
        return registered_target(self._index.spec)

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


def _known(stored: dict[str, Any]) -> SearchTuning:
    """Kept settings; those that another release of embedsql wrote and this one lacks left out."""
    names = {one.name for one in fields(SearchTuning)}
    return SearchTuning(**{name: value for name, value in stored.items() if name in names})
