"""The declaration of a semantic index, as plain values.

One frozen ``IndexSpec`` is what DDL, trigger, worker and search derive from; a row of
``embedsql.semantic_index`` mirrors it, so that a worker in another process finds it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, get_args

from embedsql.choices import (
    LOCAL,
    Backend,
    Chunking,
    LexicalIndex,
    Storage,
    check_backend,
    check_choice,
    check_kind,
    check_name,
)
from embedsql.errors import DeclarationError
from embedsql.key import KeyColumn
from embedsql.naming import ObjectNames
from embedsql.template import Template
from embedsql.vectors import Hnsw, Ivfflat, Metric, Quantization, Stored, VectorForm, VectorIndex

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"


@dataclass(frozen=True, kw_only=True)
class IndexSpec:
    """What is embedded, how, and where from.

    Attributes:
        name: The index's name, and that of its view and its function.
        table: The source table.
        schema: The source table's schema.
        key: The source's primary key, in order.
        text: The text columns, joined in this order with a blank line between; empty ones are left
            out.
        template: The text to embed for each chunk, for example ``{title}: {chunk}``. Columns that
            it names are put around every chunk, the others are cut into chunks; ``{heading}`` is
            the path of Markdown headings above the chunk. ``None``: the first of several columns
            is put before each chunk, as a heading.
        model: The embedding model: ``sentence-transformers/…``, ``openai:…`` or ``hash:<dims>``.
        dimensions: Length of a vector.
        backend: Runtime of a ``sentence-transformers/`` model: ``torch``, or ``openvino`` or
            ``onnx``, which use int8 weights.
        base_url: URL of an ``openai:`` model's server. ``None``: api.openai.com.
        query_prompt: Put before each query. ``None``: the model's own.
        document_prompt: Put before each chunk. ``None``: the model's own.
        metric: How vectors are compared: ``cosine``, ``l2`` or ``inner_product``.
        storage: Where vectors are stored: in a ``table`` of their own, or in a ``column`` of the
            source, one for each row (then texts are not chunked).
        vector_column: The name of that column.
        quantization: Form of the indexed vectors: ``none``, ``halfvec``, ``bit``, or ``int8`` (bits
            are indexed, and codes of one byte a dimension stored). See ``VectorForm``.
        stored: Type of the stored vectors, if another than the quantization's own.
        index_dimensions: Index only this many leading dimensions, as Matryoshka models allow; the
            index's candidates are then reordered by the whole vectors.
        index: Kind of approximate index: ``hnsw``, ``ivfflat`` or ``none`` (exact search).
        hnsw: Build-time options of an HNSW index.
        ivfflat: Build-time options of an IVFFlat index.
        lexical: Text-search configuration of the lexical lane. ``None``: no lexical lane.
        lexical_column: A column of the source that names each row's own configuration; ``lexical``
            is used for rows whose name the server does not know. ``None``: it is used for all.
        lexical_index: Index of the lexical lane: ``gin`` (exact); ``hnsw`` adds an approximate
            index, for millions of rows, which is used where a question's words are common.
        sparse_model: A learned sparse encoder, ``sentence-transformers/<anything SparseEncoder()
            takes>``, for the lexical lane in place of BM25. ``None``: BM25.
        heading_weight: How many times a word in a title or heading counts, 1 to 10. Defaults to 3.
        chunking: How texts are cut into chunks. ``None``: one vector for each row; a text that is
            longer than the model reads is cut there, and its row counted as truncated.
        max_characters: How much of a row's text is read; longer ones are counted as truncated.
        replicated: Whether logical replication writes the source: then every trigger is by row, and
            fires for the subscription's apply worker, too.
        notify: Whether triggers wake workers with NOTIFY (workers poll either way).
    """

    name: str
    table: str
    key: tuple[KeyColumn, ...]
    text: tuple[str, ...]
    dimensions: int
    template: str | None = None
    schema: str = "public"
    model: str = DEFAULT_MODEL
    backend: Backend = "torch"
    base_url: str | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    metric: Metric = "cosine"
    storage: Storage = "table"
    vector_column: str = "embedding"
    quantization: Quantization = "none"
    stored: Stored | None = None
    index_dimensions: int | None = None
    index: VectorIndex = "hnsw"
    hnsw: Hnsw = field(default_factory=Hnsw)
    ivfflat: Ivfflat = field(default_factory=Ivfflat)
    lexical: str | None = "english"
    lexical_column: str | None = None
    lexical_index: LexicalIndex = "gin"
    sparse_model: str | None = None
    heading_weight: float = 3.0
    chunking: Chunking | None = field(default_factory=Chunking)
    max_characters: int = 200_000
    replicated: bool = False
    notify: bool = True

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.key:
            raise DeclarationError(f"{self.table!r} has no primary key: embedsql needs one")
        if not self.text:
            raise DeclarationError(f"index {self.name!r} names no text column")
        for name in self.text:
            check_kind("a text column's name", name, str)
        if self.chunking is not None:
            check_kind("chunking", self.chunking, Chunking)
        if len(set(self.text)) != len(self.text):
            raise DeclarationError(f"index {self.name!r} names a text column twice")
        check_choice("quantization", self.quantization, get_args(Quantization))
        check_choice("vector index", self.index, get_args(VectorIndex))
        check_choice("metric", self.metric, get_args(Metric))
        check_choice("storage", self.storage, get_args(Storage))
        check_choice("stored type", self.stored, (None, *get_args(Stored)))
        check_backend(self.backend, self.model)
        self._check_lexical()
        self._check_key_names()
        self.vectors.check(self.dimensions, self.index)
        self._check_storage()
        _ = self.parsed_template

    @property
    def parsed_template(self) -> Template | None:
        """The template, read."""
        return None if self.template is None else Template.parse(self.template, self.text)

    @property
    def watched(self) -> tuple[str, ...]:
        """The columns, besides the key, whose change makes a row's chunks outdated."""
        own = () if self.lexical_column is None else (self.lexical_column,)
        return tuple(dict.fromkeys((*self.text, *own)))

    @property
    def finds_pending(self) -> bool:
        """Whether rows that wait to be embedded are found by their words: BM25 needs no model."""
        return self.lexical is not None and self.sparse_model is None

    @property
    def names(self) -> ObjectNames:
        """The names of its database objects (first generation)."""
        return ObjectNames(self.name)

    @property
    def vectors(self) -> VectorForm:
        """How its vectors are stored and indexed."""
        return VectorForm(self.quantization, self.stored, self.index_dimensions, self.metric)

    @property
    def vector_type(self) -> str:
        """The SQL type of a vector as searches read it, ``halfvec(384)`` say."""
        return f"{self.vectors.stored_as}({self.dimensions})"

    def to_json(self) -> dict[str, Any]:
        """The declaration as JSON values, for the registry."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> IndexSpec:
        """The inverse of ``to_json``.

        Raises:
            DeclarationError: Another release wrote it, or a hand.
        """
        try:
            values = dict(stored)
            values["key"] = tuple(KeyColumn(**column) for column in values["key"])
            values["text"] = tuple(values["text"])
            values["hnsw"] = Hnsw(**values["hnsw"])
            values["ivfflat"] = Ivfflat(**values["ivfflat"])
            if values["chunking"] is not None:
                values["chunking"] = Chunking(**values["chunking"])
            return cls(**values)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise DeclarationError(
                f"its declaration is not one of this release ({type(error).__name__}: {error}); "
                "use the release that wrote it, or a later one"
            ) from error

    def _check_lexical(self) -> None:
        if not 1 <= self.heading_weight <= 10:
            raise DeclarationError(f"heading_weight must be 1 to 10, not {self.heading_weight}")
        if self.lexical is None and self.sparse_model is not None:
            raise DeclarationError(
                "sparse_model needs a lexical lane: name the text-search configuration by which "
                "required and excluded words are found as lexical"
            )
        if self.sparse_model is not None and not self.sparse_model.startswith(LOCAL):
            raise DeclarationError(
                f"unknown sparse encoder {self.sparse_model!r}: a name is {LOCAL}<model>"
            )
        check_choice("lexical index", self.lexical_index, get_args(LexicalIndex))
        if self.lexical is None and self.lexical_index != "gin":
            raise DeclarationError(
                f"lexical_index {self.lexical_index!r} needs a lexical lane: name its text-search "
                "configuration as lexical"
            )
        if self.lexical is None and self.lexical_column is not None:
            raise DeclarationError(
                "lexical_column needs a lexical lane: name the text-search configuration of rows "
                "without one of their own as lexical"
            )

    def _check_key_names(self) -> None:
        taken = {"chunk_seq", "chunk", "embedding"} & {column.name for column in self.key}
        if taken:
            raise DeclarationError(
                f"the key column {sorted(taken)[0]!r} has the name of a column of the index's "
                "view; rename it, or make the index on a table with another key"
            )

    def _check_storage(self) -> None:
        if self.storage == "table":
            return
        if self.vectors.has_codes:
            raise DeclarationError("int8 codes need a table of their own: storage 'table'")
        if self.chunking is not None:
            raise DeclarationError(
                "a column of the source holds one vector a row: chunking=None (--no-chunking) with "
                "storage 'column', or storage 'table'"
            )
        check_name(self.vector_column)
        if self.vector_column in (*self.text, *(column.name for column in self.key)):
            raise DeclarationError(f"the column {self.vector_column!r} is the text's or the key's")
