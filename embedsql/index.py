"""``SemanticIndex``: what an application declares beside its model, and searches with."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import numpy.typing as npt
from sqlalchemy import Select, and_, not_
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement, SQLColumnExpression

from embedsql.embedders import Embedder, EmbedderOptions, load_embedder
from embedsql.embedders.query_vectors import QueryVectors
from embedsql.errors import QueryError
from embedsql.rerank import Reranked, Reranker
from embedsql.rerank.fetched import rerank_search, reranked_rows
from embedsql.search import Mode, Query, SearchTuning, Shaping, search_statement
from embedsql.search.shaping import ShapingOptions
from embedsql.search.statement import facet_statement
from embedsql.search.target import Target
from embedsql.search.words import meant_text
from embedsql.spec import (
    DEFAULT_MODEL,
    Backend,
    Chunking,
    IndexSpec,
    Storage,
)
from embedsql.tables import declare_on, source_of
from embedsql.vectors import (
    Hnsw,
    Ivfflat,
    Metric,
    Quantization,
    Stored,
    VectorForm,
    VectorIndex,
)

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from embedsql.explain import Explanation


@dataclass(frozen=True, eq=False)
class SemanticIndex:
    """A semantic index on a mapped class or a ``Table``.

    Declaring one touches no database and loads no model; the model is loaded when a text is first
    searched for, or never, where every search brings its vector.

    Example::

        article_search = SemanticIndex("article_search", Article, text=("title", "body"))
        statement = article_search.search("how do I get back into my account", limit=10)
        for article, hit in session.execute(statement):
            print(hit.score, article.title, hit.snippet)

    Args:
        name: The index, and the view and function of that name in the database.
        entity: A mapped class or a ``Table`` with a primary key.
        text: Its text column, or columns, by name, joined in this order.
        template: What is embedded of each chunk, ``{title}: {chunk}`` say.
        model: The embedder: ``sentence-transformers/…``, ``openai:…`` or ``hash:<dims>``.
        dimensions: Length of the vectors. ``None``: the model's own; a migration needs it said.
        generation: Search this generation, whichever serves: how readers pass to a new model before
            or after the switch of a model change. ``None``: the one that serves.

    The other fields are those of ``IndexSpec``.
    """

    name: str
    entity: Any
    text: str | Sequence[str] = field(kw_only=True)
    template: str | None = field(default=None, kw_only=True)
    model: str = field(default=DEFAULT_MODEL, kw_only=True)
    dimensions: int | None = field(default=None, kw_only=True)
    backend: Backend = field(default="torch", kw_only=True)
    base_url: str | None = field(default=None, kw_only=True)
    query_prompt: str | None = field(default=None, kw_only=True)
    document_prompt: str | None = field(default=None, kw_only=True)
    metric: Metric = field(default="cosine", kw_only=True)
    storage: Storage = field(default="table", kw_only=True)
    vector_column: str = field(default="embedding", kw_only=True)
    quantization: Quantization = field(default="none", kw_only=True)
    stored: Stored | None = field(default=None, kw_only=True)
    index_dimensions: int | None = field(default=None, kw_only=True)
    index: VectorIndex = field(default="hnsw", kw_only=True)
    hnsw: Hnsw = field(default_factory=Hnsw, kw_only=True)
    ivfflat: Ivfflat = field(default_factory=Ivfflat, kw_only=True)
    lexical: str | None = field(default="english", kw_only=True)
    lexical_column: str | None = field(default=None, kw_only=True)
    heading_weight: float = field(default=3.0, kw_only=True)
    chunking: Chunking | None = field(default_factory=Chunking, kw_only=True)
    max_characters: int = field(default=200_000, kw_only=True)
    replicated: bool = field(default=False, kw_only=True)
    generation: int | None = field(default=None, kw_only=True)
    notify: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        declare_on(self.entity, self)

    def search(
        self,
        text: str | None = None,
        *,
        vector: Sequence[float] | Any | None = None,
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
        query = self._query(
            text, vector, mode, limit=limit, where=where, joins=joins, tuning=tuning, **shaping
        )
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
        vector: Sequence[float] | Any | None = None,
        mode: Mode = "hybrid",
        limit: int = 10,
        where: Sequence[ColumnElement[bool]] = (),
        joins: Sequence[tuple[Any, ColumnElement[bool]]] = (),
        tuning: SearchTuning | None = None,
        **shaping: Unpack[ShapingOptions],
    ) -> Explanation:
        """How the hits of a search came about, and why a row is not among them.

        Where a row stands among all is looked up exactly, so that every vector is read. Of an
        ``AsyncSession``: ``await session.run_sync(index.explain, text, key=…)``.

        Args:
            session: Where.
            text: As in ``search``, and so are the others.
            key: Of the row in question: a scalar; for several columns a tuple, or a mapping by
                column.
            vector: See ``search``.
            mode: See ``search``.
            limit: See ``search``.
            where: Each condition is evaluated by itself.
            joins: See ``search``.
            tuning: See ``search``.
            shaping: See ``search``.

        Raises:
            QueryError: See ``search``; or the key does not fit the index.
        """
        from embedsql.explain import explain_search

        query = self._query(
            text, vector, mode, limit=limit, where=where, joins=joins, tuning=tuning, **shaping
        )
        return explain_search(session, self.spec, self._target, query, key=key)

    def facets(
        self,
        column: SQLColumnExpression[Any],
        text: str | None = None,
        *,
        vector: Sequence[float] | Any | None = None,
        mode: Mode = "hybrid",
        where: Sequence[ColumnElement[bool]] = (),
        tuning: SearchTuning | None = None,
        **shaping: Unpack[ShapingOptions],
    ) -> Select[Any]:
        """How often each value of ``column`` comes among the candidates, not the whole table.

        Args:
            column: Of the source.
            text: As in ``search``, and so are the others. There are
                ``SearchTuning.candidates`` candidates of each lane, 100 unless said otherwise.
            vector: See ``search``.
            mode: See ``search``.
            where: See ``search``.
            tuning: See ``search``.
            shaping: See ``search``.

        Returns:
            A ``Select`` of ``(value, count)``, most first.
        """
        candidates = (tuning or SearchTuning()).candidates
        query = self._query(
            text, vector, mode, limit=min(candidates, 1000), where=where, tuning=tuning, **shaping
        )
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
            where: See ``search``.
            tuning: See ``search``.
            shaping: See ``search``.
        """
        target = self._target
        if len(key) != len(target.source.key):
            raise QueryError(f"the key of {self.name} has {len(target.source.key)} columns")
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

    def _query(
        self,
        text: str | None,
        vector: Sequence[float] | Any | None,
        mode: Mode,
        *,
        limit: int,
        where: Sequence[ColumnElement[bool]],
        tuning: SearchTuning | None,
        joins: Sequence[tuple[Any, ColumnElement[bool]]] = (),
        **shaping: Unpack[ShapingOptions],
    ) -> Query:
        shape, space = Shaping(**shaping), None
        # refused before a model is loaded
        Query(text=text, mode="lexical" if text else "dense", vector=[1.0], limit=limit)
        if vector is None and text is not None and mode != "lexical":
            vector = self.query_vector(text)
            space = self._query_vectors.space
        return Query(
            text=text,
            vector=vector,
            space=space,
            mode=mode,
            limit=limit,
            where=tuple(where),
            tuning=tuning or SearchTuning(),
            shaping=shape,
            joins=tuple(joins),
        )

    @cached_property
    def embedder(self) -> Embedder:
        """The model; loaded once, at the first use.

        Raises:
            ConfigurationError: It is not to be had.
        """
        return load_embedder(
            self.model,
            EmbedderOptions(
                dimensions=self.dimensions,
                backend=self.backend,
                base_url=self.base_url,
                query_prompt=self.query_prompt,
                document_prompt=self.document_prompt,
            ),
        )

    @cached_property
    def spec(self) -> IndexSpec:
        """The declaration as plain values, as migrations and the registry hold it.

        Raises:
            DeclarationError: It cannot be.
            ConfigurationError: It names no dimensions, and the model is not to be had.
        """
        return self.spec_of(self.dimensions or self.embedder.space.dimensions)

    def spec_of(self, dimensions: int) -> IndexSpec:
        """The declaration, where the length of the vectors is known: no model is loaded.

        Raises:
            DeclarationError: It cannot be.
        """
        source = source_of(self.entity)
        return IndexSpec(
            name=self.name,
            table=source.table.name,
            schema=source.table.schema or "public",
            key=source.key_types,
            text=(self.text,) if isinstance(self.text, str) else tuple(self.text),
            template=self.template,
            dimensions=dimensions,
            model=self.model,
            backend=self.backend,
            base_url=self.base_url,
            query_prompt=self.query_prompt,
            document_prompt=self.document_prompt,
            metric=self.metric,
            storage=self.storage,
            vector_column=self.vector_column,
            quantization=self.quantization,
            stored=self.stored,
            index_dimensions=self.index_dimensions,
            index=self.index,
            hnsw=self.hnsw,
            ivfflat=self.ivfflat,
            lexical=self.lexical,
            lexical_column=self.lexical_column,
            heading_weight=self.heading_weight,
            chunking=self._chunking,
            max_characters=self.max_characters,
            replicated=self.replicated,
            notify=self.notify,
        )

    @cached_property
    def _query_vectors(self) -> QueryVectors:
        return QueryVectors(self.embedder)

    @cached_property
    def _target(self) -> Target:
        vectors = VectorForm(self.quantization, self.stored, self.index_dimensions, self.metric)
        return Target(
            self.name, source_of(self.entity), vectors, self.lexical, generation=self.generation
        )

    @property
    def _chunking(self) -> Chunking | None:
        """A column of the source holds one vector a row: nothing is cut unless asked for."""
        as_a_whole = self.storage == "column" and self.chunking == Chunking()
        return None if as_a_whole else self.chunking
