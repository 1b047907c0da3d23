"""What a semantic index can be asked: its statements; and to run, rerank or explain a search."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Unpack

from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from embedsql.errors import QueryError
from embedsql.question import SearchOptions
from embedsql.rerank import Reranked, Reranker
from embedsql.rerank.fetched import rerank_search, reranked_rows
from embedsql.search import Query
from embedsql.search.hit import Entity
from embedsql.search.refusals import refusals
from embedsql.spec import IndexSpec
from embedsql.statements import Statements

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from embedsql.explain import Explanation


class Searchable(Statements[Entity]):
    """An index that can be searched."""

    @property
    @abstractmethod
    def spec(self) -> IndexSpec:
        """The declaration as plain values."""

    @abstractmethod
    def spec_of(self, dimensions: int) -> IndexSpec:
        """The declaration, where the length of the vectors is known: no model is loaded."""

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
    ) -> Reranked[Entity]:
        """Run a search, and have a reranker order its rows again.

        Args:
            session: Runs the search.
            text: The question.
            limit: Maximum number of rows.
            rerank: See ``embedsql.rerank``. ``None``: the search's own order.
            top: How many rows the reranker reads, with their whole passages. More than ``limit``,
                so that rows from further down may come up.
            budget: Seconds that reranking may take; see ``embedsql.rerank.rerank``.
            blend: Share of the reranker's score in the final one; ``None``: all. See
                ``embedsql.rerank.rerank``.
            options: As for ``search``.

        Returns:
            A sequence of ``(entity, hit)`` that says whether it was reranked, and if not, why.

        Raises:
            EmbedsqlError: See ``search``.
            IndexNotFoundError: The database does not have this index.
        """
        _require(session, "fetch", "a Session", "await afetch(…)", is_async=False)
        statement = self.search(text, **rerank_search(limit, rerank, top, options))
        with refusals(self._target):
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
    ) -> Reranked[Entity]:
        """``fetch`` for an ``AsyncSession``: the models run in a thread beside the event loop."""
        _require(session, "afetch", "an AsyncSession", "fetch(…)", is_async=True)
        wanted = rerank_search(limit, rerank, top, options)
        statement = await asyncio.to_thread(self.search, text, **wanted)
        with refusals(self._target):
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

        A row's rank among all rows is computed exactly, which reads every vector. With an
        ``AsyncSession``: ``await session.run_sync(index.explain, text, key=…)``.

        Args:
            session: Runs the search.
            text: As for ``search``.
            key: Of the row to explain: a scalar; for several columns a tuple, or a mapping by
                column.
            options: As for ``search``. Each condition of ``where`` is evaluated by itself.

        Raises:
            EmbedsqlError: See ``fetch``; or the key does not fit the index.
        """
        from embedsql.explain import explain_search

        other_way = "await session.run_sync(index.explain, …)"
        _require(session, "explain", "a Session", other_way, is_async=False)
        query = self._query(text, **options)
        with refusals(self._target):
            return explain_search(session, self._spec_for(query), self._target, query, key=key)

    def _spec_for(self, query: Query) -> IndexSpec:
        """The declaration; a search that brings its vector, or needs none, asks no model."""
        if self.dimensions is not None or isinstance(query.vector, ColumnElement):
            return self.spec
        shortest = (self._target.vectors.index_dimensions or 0) + 1
        return self.spec_of(query.dimensions or shortest)


def _require(session: Any, method: str, wanted: str, instead: str, *, is_async: bool) -> None:
    if iscoroutinefunction(session.execute) != is_async:
        kind = type(session).__name__
        raise QueryError(f"{method} takes {wanted}; with this {kind}: {instead}")
