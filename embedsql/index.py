"""``SemanticIndex``: what an application declares beside its model, and searches with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeGuard

from sqlalchemy import Table

from embedsql.choices import Backend, Chunking, LexicalIndex, Storage
from embedsql.embedders import Embedder, EmbedderOptions, load_embedder
from embedsql.embedders.query_vectors import QueryVectors
from embedsql.search.hit import Entity
from embedsql.search.target import Target
from embedsql.searchable import Searchable
from embedsql.spec import DEFAULT_MODEL, IndexSpec
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


@dataclass(frozen=True, eq=False)
class SemanticIndex(Searchable[Entity]):
    """A semantic index on a mapped class or a ``Table``.

    Declaring one touches no database and loads no model. The model is loaded when a text is first
    searched for; never, if every search brings its vector.

    Example::

        article_search = SemanticIndex("article_search", Article, text=("title", "body"))
        statement = article_search.search("how do I get back into my account", limit=10)
        for article, hit in session.execute(statement):
            print(hit.score, article.title, hit.snippet)

    Args:
        name: The index's name, and that of its view and its function in the database.
        entity: A mapped class or a ``Table`` with a primary key.
        text: The name of its text column, or of several, which are joined in this order.
        template: The text to embed for each chunk, for example ``{title}: {chunk}``.
        model: The embedding model: ``sentence-transformers/…``, ``openai:…`` or ``hash:<dims>``.
        dimensions: Length of the vectors. ``None``: the model's own, which autogenerate has to load
            the model for.
        generation: Search this generation, whichever one serves: so an application moves to a new
            model before or after the switch of a model change. ``None``: the serving one.

    The other fields are those of ``IndexSpec``.

    Raises:
        DeclarationError: The entity is neither a mapped class nor a ``Table``.
    """

    name: str
    entity: type[Entity] | Table
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
    lexical_index: LexicalIndex = field(default="gin", kw_only=True)
    sparse_model: str | None = field(default=None, kw_only=True)
    heading_weight: float = field(default=3.0, kw_only=True)
    chunking: Chunking | None = field(default_factory=Chunking, kw_only=True)
    max_characters: int = field(default=200_000, kw_only=True)
    replicated: bool = field(default=False, kw_only=True)
    generation: int | None = field(default=None, kw_only=True)
    notify: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        declare_on(self.entity, self)

    @cached_property
    def embedder(self) -> Embedder:
        """The model; loaded once, at the first use.

        Raises:
            ConfigurationError: It cannot be loaded.
        """
        return load_embedder(
            self.model,
            EmbedderOptions(
                dimensions=self.dimensions,
                backend=self.backend,
                base_url=self.base_url,
                query_prompt=self.query_prompt,
                document_prompt=self.document_prompt,
                sparse_model=self.sparse_model,
            ),
        )

    @cached_property
    def spec(self) -> IndexSpec:
        """The declaration as plain values, as migrations and the registry hold it.

        Raises:
            DeclarationError: It cannot be.
            ConfigurationError: It names no dimensions, and the model cannot be loaded.
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
            text=(self.text,) if _is_one(self.text) else tuple(self.text),
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
            lexical_index=self.lexical_index,
            sparse_model=self.sparse_model,
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
            self.name,
            source_of(self.entity),
            vectors,
            self.lexical,
            generation=self.generation,
            lexical_index=self.lexical_index,
            learned=self.sparse_model is not None,
        )

    @property
    def _chunking(self) -> Chunking | None:
        """A column of the source holds one vector a row: nothing is cut unless asked for."""
        as_a_whole = self.storage == "column" and self.chunking == Chunking()
        return None if as_a_whole else self.chunking


def _is_one(text: str | Sequence[str]) -> TypeGuard[str]:
    return isinstance(text, str) or not isinstance(text, Iterable)
