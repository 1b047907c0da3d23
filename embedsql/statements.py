"""What a semantic index gives as statements: a search, a count of values, what is alike."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Generic, TypeVar, Unpack

import numpy as np
import numpy.typing as npt
from sqlalchemy import Select, and_, literal, not_
from sqlalchemy.sql import ColumnElement, SQLColumnExpression

from embedsql.embedders.query_vectors import QueryVectors
from embedsql.provider_outage import ProviderOutage
from embedsql.question import SearchOptions, Where, conditions, embed_question, shaping_of
from embedsql.search import Hit, Mode, Query, SearchTuning, search_statement
from embedsql.search.hit import Entity
from embedsql.search.query import MOST_ROWS
from embedsql.search.shaping import ShapingOptions
from embedsql.search.statement import facet_statement
from embedsql.search.target import Target
from embedsql.search.words import meant_text

logger = logging.getLogger("embedsql.search")
Value = TypeVar("Value")


class Statements(ABC, Generic[Entity]):
    """An index whose searches are statements, for whoever runs them."""

    # the declaration has it; what is searched and the model come from there, too
    dimensions: int | None

    @property
    @abstractmethod
    def _target(self) -> Target: ...

    @property
    @abstractmethod
    def _query_vectors(self) -> QueryVectors: ...

    @cached_property
    def _outage(self) -> ProviderOutage:
        return ProviderOutage()

    def search(
        self,
        text: str | None = None,
        *,
        vector: Sequence[float] | Any | None = None,
        terms: str | Any | None = None,
        mode: Mode | None = None,
        limit: int = 10,
        where: Where = (),
        joins: Sequence[tuple[Any, ColumnElement[bool]]] = (),
        tuning: SearchTuning | None = None,
        **shaping: Unpack[ShapingOptions],
    ) -> Select[Entity, Hit]:
        """One statement that finds the rows nearest in meaning and words.

        Args:
            text: The question. It is embedded here, unless ``vector`` is given or no lane needs it.
            vector: The question as a vector of the index's space, shape (dimensions,).
            terms: The question as the index's sparse encoder has it, if there is one, in pgvector's
                text form of a ``sparsevec``. Encoded here, unless given.
            mode: ``hybrid`` (both lanes, fused), ``dense`` or ``lexical``. ``None``: the best that
                is available: hybrid; dense, if the index has no lexical lane; lexical, while the
                model's provider fails, which is logged as a warning (``Hit.strategy`` is ``None``).
            limit: Maximum number of rows, 1 to 1000.
            where: Conditions on the source's columns, or a single one. They apply inside each
                lane, so that the result still fills up to ``limit``.
            joins: Other tables that ``where`` refers to, each with its ON condition.
            tuning: Query-time settings.
            shaping: The fields of ``Shaping``: ``offset=20``, ``highlight=True``, ...

        Returns:
            A ``Select`` of ``(entity, hit)``, for ``Session`` and ``AsyncSession`` alike. What the
            server refuses (an index that no migration made, say) is SQLAlchemy's error where they
            run it, and one of ours where ``fetch`` does.

        Raises:
            QueryError: The query is empty, too long, or lacks what its mode needs.
            EmbeddingError: It cannot be embedded, and the given mode needs a vector.
        """
        query = self._query(text, vector, terms, mode, limit, where, joins, tuning, **shaping)
        return search_statement(self._target, query)

    def facets(
        self,
        column: SQLColumnExpression[Value],
        text: str | None = None,
        **options: Unpack[SearchOptions],
    ) -> Select[Value, int]:
        """Count the values of ``column`` among the candidates (not in the whole table).

        Args:
            column: Of the source.
            text: As in ``search``.
            options: As for ``search``; ``limit`` has no effect. Each lane gives
                ``SearchTuning.candidates`` candidates, 100 by default.

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
        where: Where = (),
        tuning: SearchTuning | None = None,
        **shaping: Unpack[ShapingOptions],
    ) -> Select[Entity, Hit]:
        """The rows most similar to a row, by the vector of its first chunk; without that row.

        Args:
            key: Its primary key; of several columns a tuple, or one value after the other. There
                are no rows for one without a vector.
            limit: See ``search``.
            where: See ``search``.
            tuning: See ``search``.
            shaping: See ``search``.

        Returns:
            A ``Select`` of ``(entity, hit)``.

        Raises:
            QueryError: The key does not fit the source, or an option is out of range.
        """
        target = self._target
        key = key[0] if len(key) == 1 and isinstance(key[0], tuple) else key
        target.checked_key(key, "more_like")
        vector = target.vector_of(key)
        same = (
            c == literal(value, c.type) for c, value in zip(target.source.key, key, strict=True)
        )
        others = not_(and_(*same))
        query = Query(
            vector=vector,
            vector_dimensions=self.dimensions,
            mode="dense",
            limit=limit,
            where=(vector.is_not(None), others, *conditions(where)),
            tuning=tuning or SearchTuning(),
            shaping=shaping_of(shaping),
        )
        return search_statement(target, query)

    def query_vector(self, text: str) -> npt.NDArray[np.float32]:
        """A question as a vector of the index's space, as ``search`` takes it.

        Returns:
            Shape (dimensions,), float32.

        Raises:
            QueryError: The text is empty or too long.
            EmbeddingError: It cannot be embedded.
        """
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
        mode: Mode | None = None,
        limit: int = 10,
        where: Where = (),
        joins: Sequence[tuple[Any, ColumnElement[bool]]] = (),
        tuning: SearchTuning | None = None,
        **shaping: Unpack[ShapingOptions],
    ) -> Query:
        shape, passing, target = shaping_of(shaping), conditions(where), self._target
        # a trial, so that what cannot be searched is refused before a model is loaded
        Query(text=text, mode="dense" if text is None else "lexical", vector=[1.0], limit=limit)
        asked = embed_question(
            target,
            lambda: self._query_vectors,
            text,
            mode,
            vector=vector,
            terms=terms,
            outage=self._outage,
        )
        if asked.words_only is not None:
            logger.warning("%s is searched for words only: %s", target.index, asked.words_only)
        return Query(
            text=text,
            vector=asked.vector,
            vector_dimensions=self.dimensions,
            terms=asked.terms,
            space=asked.space,
            mode=asked.mode,
            limit=limit,
            where=passing,
            tuning=tuning or SearchTuning(),
            shaping=shape,
            joins=tuple(joins),
        )
