"""Query vectors from a running worker: for processes that search and load no model.

A web process need not hold torch and a model's weights to search by meaning::

    vector = embed_query(engine, "article_search", question)
    statement = article_search.search(question, vector=vector)

Of an index with a sparse encoder, ``terms=embed_terms(…)`` as well.

The question is committed on a connection beside the caller's transaction, a worker answers within
milliseconds, and the answer stays in a table of bounded size for whoever asks the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import Connection, Engine, Row, TextClause, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from embedsql.errors import EmbedsqlError, IndexNotFoundError, ProviderError, QueryError
from embedsql.search.query import checked_text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

POST = text("SELECT embedsql.post_query(:index, :query)")
AWAIT = text(
    "SELECT vector, terms, problem, taken FROM embedsql.await_query(:index, :query, :wait_ms)"
)
# Of one statement: only the next one, a new transaction, surely sees a new answer.
LONGEST_WAIT_MS = 100

_OPTIONS = {"isolation_level": "AUTOCOMMIT"}
_ERRORS: dict[str, type[EmbedsqlError]] = {
    "ES001": IndexNotFoundError,
    "ES004": QueryError,
    "ES007": ProviderError,
}
_Step = tuple[TextClause, dict[str, Any]]


def embed_query(
    bind: Engine | Connection | Session, index: str, query: str, *, timeout: float = 1.0
) -> list[float]:
    """The vector of a question, in the space of an index, from a worker.

    Args:
        bind: Where the database is, its primary; another connection of its engine is used, so
            its pool needs room for one more.
        index: The index's name.
        query: The question.
        timeout: Seconds to wait for a worker.

    Returns:
        The vector, as ``SemanticIndex.search(vector=…)`` takes it.

    Raises:
        QueryError: The query cannot be searched for.
        IndexNotFoundError: There is no such index.
        ProviderError: No worker answered in time, or its model failed; search with
            ``mode="lexical"`` (but of an index with a sparse encoder) or try again.
    """
    values: list[float] = json.loads(_answer(bind, index, query, timeout).vector)
    return values


def embed_terms(
    bind: Engine | Connection | Session, index: str, query: str, *, timeout: float = 1.0
) -> str | None:
    """A question as the sparse encoder of an index has it, from a worker.

    Asked after ``embed_query`` it takes no time: a worker answers both at once.

    Returns:
        The terms, as ``SemanticIndex.search(terms=…)`` takes them; ``None``: the index has no
        sparse encoder.

    Raises:
        EmbedsqlError: See ``embed_query``.
    """
    terms: str | None = _answer(bind, index, query, timeout).terms
    return terms


async def embed_query_async(
    bind: AsyncEngine | AsyncConnection | AsyncSession,
    index: str,
    query: str,
    *,
    timeout: float = 1.0,
) -> list[float]:
    """As ``embed_query``, for an asyncio application."""
    values: list[float] = json.loads((await _answer_async(bind, index, query, timeout)).vector)
    return values


async def embed_terms_async(
    bind: AsyncEngine | AsyncConnection | AsyncSession,
    index: str,
    query: str,
    *,
    timeout: float = 1.0,
) -> str | None:
    """As ``embed_terms``, for an asyncio application."""
    terms: str | None = (await _answer_async(bind, index, query, timeout)).terms
    return terms


def _answer(
    bind: Engine | Connection | Session, index: str, query: str, timeout: float
) -> Row[Any]:
    engine = bind.get_bind().engine if isinstance(bind, Session) else bind.engine
    steps = _steps(index, query, timeout)
    statement, values = next(steps)
    with engine.connect() as connection:
        connection.execution_options(**_OPTIONS)
        try:
            while True:
                row = connection.execute(statement, values).one()
                statement, values = steps.send(row)
        except StopIteration as finished:
            answer: Row[Any] = finished.value
            return answer
        except DBAPIError as error:
            _raise(error)


async def _answer_async(
    bind: AsyncEngine | AsyncConnection | AsyncSession, index: str, query: str, timeout: float
) -> Row[Any]:
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

    sync = bind.get_bind() if isinstance(bind, AsyncSession) else bind.engine
    engine = sync if isinstance(sync, AsyncEngine) else AsyncEngine(sync.engine)
    steps = _steps(index, query, timeout)
    statement, values = next(steps)
    async with engine.connect() as connection:
        await connection.execution_options(**_OPTIONS)
        while True:
            try:
                row = (await connection.execute(statement, values)).one()
                statement, values = steps.send(row)
            except StopIteration as finished:
                answer: Row[Any] = finished.value
                return answer
            except DBAPIError as error:
                _raise(error)


def _steps(index: str, query: str, timeout: float) -> Generator[_Step, Row[Any], Row[Any]]:
    """The statements to run, one by one; each is sent the row that the one before gave.

    Returns:
        The line with the ``vector`` and the ``terms``, as the server writes them.
    """
    query = checked_text(query)
    asked = {"index": index, "query": query}
    deadline = time.monotonic() + timeout
    found = yield AWAIT, {**asked, "wait_ms": 0}
    if found.vector is None:
        yield POST, asked
    while found.vector is None:
        left = max(0, round(1000 * (deadline - time.monotonic())))
        found = yield AWAIT, {**asked, "wait_ms": min(left, LONGEST_WAIT_MS)}
        if found.problem is not None:
            raise ProviderError(f"a worker could not embed the query: {found.problem}")
        if found.vector is None and left <= LONGEST_WAIT_MS:
            why = (
                f"a worker took the query, and its model did not answer within {timeout:g} s: its "
                "log says why"
                if found.taken
                else f"no worker answered within {timeout:g} s: is one running (embedsql worker)?"
            )
            raise ProviderError(
                f'{why} Search with mode="lexical" meanwhile, unless the index has a sparse encoder'
            )
    return found


def _raise(error: DBAPIError) -> NoReturn:
    """Our own errors as ours; the rest as it is."""
    kind = _ERRORS.get(getattr(error.orig, "sqlstate", None) or "")
    if kind is None:
        raise error
    diag = getattr(error.orig, "diag", None)
    raise kind(getattr(diag, "message_primary", None) or str(error.orig)) from error
