"""What a semantic index can be asked: search, rerank, explain, count, find what is alike."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import numpy.typing as npt
from sqlalchemy import Select, and_, not_
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement, SQLColumnExpression

from embedsql.embedders.query_vectors import QueryVectors
from embedsql.rerank import Reranked, Reranker
from embedsql.rerank.fetched import rerank_search, reranked_rows
from embedsql.search import Mode, Query, SearchTuning, Shaping, search_statement
from embedsql.search.query import MOST_ROWS
from embedsql.search.shaping import ShapingOptions
from embedsql.search.statement import facet_statement
from embedsql.search.target import Target
from embedsql.search.words import meant_text
from embedsql.spec import IndexSpec

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from embedsql.explain import Explanation


class SearchOptions(ShapingOptions, total=False):
    """The keyword arguments of ``Searchable.search``."""

    vector: Sequence[float] | Any | None
    terms: str | Any | None
    mode: Mode
    limit: int
    where: Sequence[ColumnElement[bool]]
    joins: Sequence[tuple[Any, ColumnElement[bool]]]
    tuning: SearchTuning | None


class Searchable(ABC):
    """An index that can be searched."""

    # what is searched, and its model, the declaration has
    dimensions: int | None

    @property
    @abstractmethod
    def spec(self) -> IndexSpec:
        """The declaration as plain values."""

    @property
    @abstractmethod
    def _target(self) -> Target: ...

    @property
    @abstractmethod
    def _query_vectors(self) -> QueryVectors: ...

    def search(
        self,
        text: str | None = None,
        *,
        vector: Sequence[float] | Any | None = None,
        terms: str | Any | None = None,
        mode: Mode = "hybrid",
        limit: int = 10,
        where: Sequence[ColumnElement[bool]] = (),
        joins: Sequence[tuple[Any, ColumnElement[bool]]] = (),
        tuning: SearchTuning | None = None,
        **shaping: Unpack[ShapingOptions],
    ) -> Select[Any]:
        """One statement that finds the rows nearest in meaning and words.

        Args:
            text: What is asked. Embedded here, unless ``vector`` is given or no lane needs it.
            vector: The question as a vector of the index's space, shape (dimensions,).
            terms: The question as the index's sparse encoder has it, where it has one, as pgvector
                reads a ``sparsevec``. Encoded here, unless given.
            mode: ``hybrid`` (both lanes, fused), ``dense`` or ``lexical``.
            limit: Most rows, 1 to 1000.
            where: Conditions on the source's columns, applied inside each lane, so that the
                result still fills up to ``limit``.
            joins: Other tables that ``where`` speaks of, each with its ON condition.
            tuning: Query-time settings.
            shaping: The fields of ``Shaping``: ``offset=20``, ``highlight=True``, ...

        Returns:
            A ``Select`` of ``(entity, hit)``, for ``Session`` and ``AsyncSession`` alike.

        Raises:
            QueryError: The query is empty, too long, or lacks what its mode needs.
        """
        query = self._query(text, vector, terms, mode, limit, where, joins, tuning, **shaping)
        return search_statement(self._target, query)

    def fetch(
        self,
        session: Session,
        text: str,
        limit: int = 10,
        *,
        rerank: Reranker | None = None,
        top: int = 50,
        budget: float | None = None,
        blend: float | None = None,
        **options: Any,
    ) -> Reranked:
        """Run a search, and have a reranker order its rows again.

        Args:
            session: Where.
            text: What is asked.
            limit: Most rows.
            rerank: See ``embedsql.rerank``. ``None``: the rows come as the search has them.
            top: How many rows it reads, with their passages whole. More than ``limit``, so that
                rows from further down may come up.
            budget: Seconds that reranking may take; see ``embedsql.rerank.rerank``.
            blend: How much the reranker counts; ``None``: it alone. See ``embedsql.rerank.rerank``.
            options: As ``search`` takes them.

        Returns:
            A sequence of ``(entity, hit)``, which says whether it was reranked, and why not.

        Raises:
            QueryError: See ``search``.
        """
        statement = self.search(text, **rerank_search(limit, rerank, top, options))
        found = session.execute(statement).all()
        return reranked_rows(text, found, limit, rerank, top=top, budget=budget, blend=blend)

    async def afetch(
        self,
        session: AsyncSession,
        text: str,
        limit: int = 10,
        *,
        rerank: Reranker | None = None,
        top: int = 50,
        budget: float | None = None,
        blend: float | None = None,
        **options: Any,
    ) -> Reranked:
        """``fetch`` for an ``AsyncSession``: the models run in a thread beside the event loop."""
        wanted = rerank_search(limit, rerank, top, options)
        statement = await asyncio.to_thread(self.search, text, **wanted)
        found = (await session.execute(statement)).all()
        return await asyncio.to_thread(
            reranked_rows, text, found, limit, rerank, top=top, budget=budget, blend=blend
        )

    def explain(
        self,
        session: Session,
        text: str | None = None,
        *,
        key: Any = None,
        **options: Unpack[SearchOptions],
    ) -> Explanation:
        """How the hits of a search came about, and why a row is not among them.

        Where a row stands among all is looked up exactly, so that every vector is read. Of an
        ``AsyncSession``: ``await session.run_sync(index.explain, text, key=…)``.

        Args:
            session: Where.
            text: As in ``search``.
            key: Of the row in question: a scalar; for several columns a tuple, or a mapping by
                column.
            options: As ``search`` takes them. Each condition of ``where`` is evaluated by itself.

        Raises:
            QueryError: See ``search``; or the key does not fit the index.
        """
        from embedsql.explain import explain_search

        query = self._query(text, **options)
        return explain_search(session, self.spec, self._target, query, key=key)

    def facets(
        self,
        column: SQLColumnExpression[Any],
        text: str | None = None,
        **options: Unpack[SearchOptions],
    ) -> Select[Any]:
        """How often each value of ``column`` comes among the candidates, not the whole table.

        Args:
            column: Of the source.
            text: As in ``search``.
            options: As ``search`` takes them; of ``limit``, nothing depends. There are
                ``SearchTuning.candidates`` candidates of each lane, 100 unless said otherwise.

        Returns:
            A ``Select`` of ``(value, count)``, most first.
        """
        candidates = (options.get("tuning") or SearchTuning()).candidates
        options["limit"] = min(candidates, MOST_ROWS)
        query = self._query(text, **options)
        return facet_statement(self._target, query, column)

    def more_like(
        self,
        *key: Any,
        limit: int = 10,
        where: Sequence[ColumnElement[bool]] = (),
        tuning: SearchTuning | None = None,
        **shaping: Unpack[ShapingOptions],
    ) -> Select[Any]:
        """The rows nearest to one row, by the vector of its first chunk; that row left out.

        Args:
            key: Its primary key. A row without a vector has none like it.
            limit: See ``search``, and so for the others.
            where: Conditions on the source's columns.
            tuning: Query-time settings.
        """
        target = self._target
        target.checked_key(key, "more_like")
        vector = target.vector_of(key)
        others = not_(and_(*(c == value for c, value in zip(target.source.key, key, strict=True))))
        query = Query(
            vector=vector,
            vector_dimensions=self.dimensions,
            mode="dense",
            limit=limit,
            where=(vector.is_not(None), others, *where),
            tuning=tuning or SearchTuning(),
            shaping=Shaping(**shaping),
        )
        return search_statement(target, query)

    def query_vector(self, text: str) -> npt.NDArray[np.float32]:
        """A question as a vector of the index's space, as ``search`` takes it."""
        asked = Query(text=text, mode="lexical")
        return self._query_vectors.of(meant_text(asked.text or ""))

    def query_terms(self, text: str) -> str | None:
        """A question as the index's sparse encoder has it; ``None``: it has none."""
        asked = Query(text=text, mode="lexical")
        return self._query_vectors.terms_of(meant_text(asked.text or ""))

    def _query(
        self,
        text: str | None,
        vector: Sequence[float] | Any | None = None,
        terms: str | Any | None = None,
        mode: Mode = "hybrid",
        limit: int = 10,
        where: Sequence[ColumnElement[bool]] = (),
        joins: Sequence[tuple[Any, ColumnElement[bool]]] = (),
        tuning: SearchTuning | None = None,
        **shaping: Unpack[ShapingOptions],
    ) -> Query:
        shape, space = Shaping(**shaping), None
        # refused before a model is loaded
        Query(text=text, mode="lexical" if text else "dense", vector=[1.0], limit=limit)
        if vector is None and text is not None and mode != "lexical":
            vector = self.query_vector(text)
            space = self._query_vectors.space
        if terms is None and text is not None and mode != "dense" and self._target.learned:
            terms = self.query_terms(text)
            space = self._query_vectors.space
        return Query(
            text=text,
            vector=vector,
            terms=terms,
            space=space,
            mode=mode,
            limit=limit,
            where=tuple(where),
            tuning=tuning or SearchTuning(),
            shaping=shape,
            joins=tuple(joins),
        )
