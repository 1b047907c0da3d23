"""What is asked: text, vector, mode, limit, filters; checked before any SQL is built."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral
from typing import Any, Literal, get_args

import numpy as np
from sqlalchemy.sql import ColumnElement

from embedsql.errors import QueryError
from embedsql.search.shaping import Shaping
from embedsql.search.words import clean_text, has_operators

Mode = Literal["hybrid", "dense", "lexical"]
Fusion = Literal["calibrated", "rrf", "convex"]

MOST_CHARACTERS = 1 << 20
MOST_ROWS = 1000


@dataclass(frozen=True, kw_only=True)
class SearchTuning:
    """Query-time settings. Build-time ones are ``embedsql.Hnsw``.

    Attributes:
        candidates: Rows that each lane hands to fusion. Defaults to 100, or the limit if larger.
        oversample: Chunks to look at for each candidate row, since several chunks may be of one
            row, and a quantized index orders them only roughly. ``None``: 2, or 6 where the index
            holds bits or leading dimensions; see ``VectorForm.oversample``.
        ef_search: Length of the candidate list when an HNSW index is searched, 1 to 1000. ``None``:
            as many as there are chunks to look at.
        probes: Lists of an IVFFlat index that are searched. Defaults to 20.
        fusion: How two lanes become one ranking. ``calibrated``: the similarity in deviations from
            that of two chunks taken at random, plus the saturated BM25 score; it depends on the row
            alone. ``rrf``: reciprocal ranks. ``convex``: both scores stretched to 0 to 1.
        rrf_k: The constant of reciprocal rank fusion. Defaults to 60.
        saturation: The lexical score that counts half of what the highest would, in the calibrated
            fusion. Defaults to 40.
        dense_weight: Weight of the dense lane in the fusion. Defaults to 1.
        lexical_weight: Weight of the lexical lane. ``None``: 1, and 4 in the calibrated fusion,
            there up to 16 times as much where meaning and words hardly agree (a weak model).
        lexical_ef_search: Length of the candidate list when the lexical lane searches an HNSW index
            (``lexical_index="hnsw"``), 1 to 1000; 0: it searches exactly. ``None``: as many as
            there are chunks to look at.
        pending: Whether the lexical lane also searches the current texts of rows that wait to be
            embedded (at most the 50 that changed last).
    """

    candidates: int = 100
    oversample: int | None = None
    ef_search: int | None = None
    probes: int = 20
    fusion: Fusion = "calibrated"
    rrf_k: int = 60
    saturation: float = 40.0
    dense_weight: float = 1.0
    lexical_weight: float | None = None
    lexical_ef_search: int | None = None
    pending: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.candidates <= 10 * MOST_ROWS:
            raise QueryError("candidates must be 1 to 10,000")
        if self.oversample is not None and not 1 <= self.oversample <= 100:
            raise QueryError("oversample must be 1 to 100")
        if self.ef_search is not None and not 1 <= self.ef_search <= 1000:
            raise QueryError("ef_search must be 1 to 1000")
        if self.lexical_ef_search is not None and not 0 <= self.lexical_ef_search <= 1000:
            raise QueryError("lexical_ef_search must be 0 to 1000")
        if not 1 <= self.probes <= 32768:
            raise QueryError("probes must be 1 to 32768")
        if self.fusion not in get_args(Fusion):
            raise QueryError(f"no such fusion: {self.fusion!r}; use {', '.join(get_args(Fusion))}")
        weights = (self.dense_weight, self.lexical_share)
        if not (math.isfinite(self.saturation) and self.saturation > 0):
            raise QueryError("the saturation must be a number above 0")
        if self.rrf_k < 0 or not all(math.isfinite(one) and one >= 0 for one in weights):
            raise QueryError("rrf_k and the lanes' weights must be 0 or more")

    @classmethod
    def kept(cls, stored: Mapping[str, Any]) -> SearchTuning:
        """Settings of the registry; those of another release that this one lacks are left out."""
        names = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in stored.items() if name in names})

    @property
    def lexical_share(self) -> float:
        """The lexical lane's weight."""
        if self.lexical_weight is not None:
            return self.lexical_weight
        return 4.0 if self.fusion == "calibrated" else 1.0


@dataclass(frozen=True, kw_only=True)
class Query:
    """One search.

    Attributes:
        text: The question in words; the lexical lane needs it.
        vector: The question as a vector of the index's space, shape (dimensions,); the dense
            lane needs it. Or an SQL expression of that type.
        terms: The question as a sparse encoder has it, as pgvector reads a ``sparsevec``; the
            lexical lane of an index with such an encoder needs it. Or an SQL expression.
        vector_dimensions: Length of the index's vectors, where it is known: one of another length
            is refused. Of a vector that is an expression a form may need it.
        space: Label of the space ``vector`` is of; the server refuses another than the index's.
        mode: Which lanes.
        limit: Most rows.
        where: SQLAlchemy expressions on the source's columns, applied inside each lane.
        tuning: See ``SearchTuning``.
        shaping: What becomes of the ranking; see ``Shaping``.
        joins: Tables, or mapped classes, that ``where`` refers to, each with its ON condition;
            at most one line of each for a row of the source.

    Raises:
        QueryError: It cannot be run; the message says why.
    """

    text: str | None = None
    vector: Sequence[float] | ColumnElement[Any] | None = None
    terms: str | ColumnElement[Any] | None = None
    vector_dimensions: int | None = None
    space: str | None = None
    mode: Mode = "hybrid"
    limit: int = 10
    where: Sequence[ColumnElement[bool]] = ()
    tuning: SearchTuning = field(default_factory=SearchTuning)
    shaping: Shaping = field(default_factory=Shaping)
    joins: Sequence[tuple[Any, ColumnElement[bool]]] = ()

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise QueryError(f"no such mode: {self.mode!r}; use hybrid, dense or lexical")
        if not isinstance(self.tuning, SearchTuning):
            raise QueryError(f"tuning must be a SearchTuning(…), not {self.tuning!r}")
        if not isinstance(self.limit, Integral) or not 1 <= self.limit <= MOST_ROWS:
            raise QueryError(f"the limit must be 1 to {MOST_ROWS} rows, not {self.limit!r}")
        if self.shaping.reorders and self.shown > self.tuning.candidates:
            raise QueryError(
                f"this page ends at row {self.shown}, beyond the {self.tuning.candidates} "
                "candidates: give SearchTuning(candidates=…) of at least as many, the same for "
                "all pages"
            )
        if self.text is not None:
            object.__setattr__(self, "text", checked_text(self.text))
        if self.uses_lexical and self.text is None:
            raise QueryError(f"a {self.mode} search needs the query's text")
        if self.uses_dense and self.vector is None:
            raise QueryError(f"a {self.mode} search needs the query's vector")

    @property
    def uses_dense(self) -> bool:
        """Whether the dense lane takes part."""
        return self.mode != "lexical"

    @property
    def uses_lexical(self) -> bool:
        """Whether the lexical lane takes part."""
        return self.mode != "dense"

    @property
    def has_operators(self) -> bool:
        """Whether the text may ask for phrases, required or excluded words."""
        return self.text is not None and has_operators(self.text)

    @property
    def candidates(self) -> int:
        """Rows that each lane hands on."""
        return max(self.tuning.candidates, self.limit)

    @property
    def shown(self) -> int:
        """How many rows from the top are looked at for this page."""
        return self.shaping.offset + self.limit

    @property
    def dimensions(self) -> int:
        """Length of the vector.

        Raises:
            QueryError: It is an expression, and nobody said.
        """
        if isinstance(self.vector, ColumnElement):
            if self.vector_dimensions is None:
                raise QueryError(
                    "the vector is an SQL expression: give dimensions= in the index's declaration"
                )
            return self.vector_dimensions
        return 0 if self.vector is None else len(self.vector)

    @property
    def vector_text(self) -> str:
        """The vector as pgvector reads it."""
        return vector_text(self.vector if self.vector is not None else (), self.vector_dimensions)


def checked_text(text: str) -> str:
    """A query's text as it can be searched for: without NUL and lone surrogates.

    Raises:
        QueryError: No text, empty, or too long.
    """
    if not isinstance(text, str):
        raise QueryError(f"the query must be a text, not {text!r}")
    text = clean_text(text)
    if not text.strip():
        raise QueryError("the query is empty")
    if len(text) > MOST_CHARACTERS:
        raise QueryError(
            f"the query has {len(text):,} characters; {MOST_CHARACTERS:,} is the most. Search "
            "with a passage of it"
        )
    return text


def vector_text(vector: Sequence[float] | Any, dimensions: int | None = None) -> str:
    """A vector as pgvector reads it, ``[0.1,0.2]``.

    Args:
        vector: Shape (dimensions,).
        dimensions: Its length, where it is known what that must be.

    Raises:
        QueryError: Of another shape, or with NaN, infinite values or no direction.
    """
    try:
        with np.errstate(over="ignore"):
            values = np.asarray(vector, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise QueryError(f"the query vector cannot be read: {error}") from error
    if values.ndim != 1 or not values.size:
        raise QueryError(f"a query vector has the shape (dimensions,), not {values.shape}")
    if dimensions is not None and values.size != dimensions:
        raise QueryError(
            f"the query's vector has {values.size} dimensions, the index {dimensions}: embed the "
            "query with the index's own model"
        )
    if not np.isfinite(values).all() or not values.any():
        raise QueryError("the query vector has NaN or infinite values, or is zero")
    # nine digits name every float32
    return f"[{','.join(['%.9g'] * values.size)}]" % tuple(values.tolist())
