"""Search several indexes at once, of whatever tables."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from pgvector.sqlalchemy import SPARSEVEC, VECTOR
from sqlalchemy import Double, Integer, Select, Text, cast, column, func, literal, select, union_all
from sqlalchemy.dialects.postgresql import JSONB

from embedsql.errors import EmbeddingError, QueryError
from embedsql.index import SemanticIndex
from embedsql.search import Mode
from embedsql.search.query import vector_text
from embedsql.tables import source_of

logger = logging.getLogger("embedsql.search")

_Question = tuple[str | None, str | None]  # as a vector, and as a sparse encoder's terms


def search_across(
    indexes: Sequence[SemanticIndex], text: str, *, limit: int = 10, mode: Mode | None = None
) -> Select[str, Any, float, float | None, float | None, str]:
    """The best rows of several indexes in one ranking, by the SQL functions of the same names.

    Scores are comparable across indexes: each is in deviations of its own space.

    Args:
        indexes: Two or more.
        text: The question; each index's model embeds it, and its sparse encoder, if it has one.
        limit: Maximum number of rows, of all indexes together.
        mode: See ``SemanticIndex.search``; the same for all, so that scores are comparable: dense
            if one of them has no lexical lane.

    Returns:
        A ``Select`` of ``(index_name, key, score, similarity, bm25, snippet)``; the key is JSON: a
        scalar, or an object by column.

    Raises:
        QueryError: There are no indexes, or the text is empty or too long.
        EmbeddingError: The text cannot be embedded, and the given mode needs a vector.
    """
    if not indexes:
        raise QueryError("search_across needs an index")
    lanes, questions = _embedded(indexes, text, mode)
    pairs = zip(indexes, questions, strict=True)
    parts = [_part(index, text, question, limit, lanes) for index, question in pairs]
    found = union_all(*parts).subquery("found")
    order = [found.c.score.desc(), found.c.index_name, cast(found.c.key, Text)]
    return select(*found.c).order_by(*order).limit(limit)


def _embedded(
    indexes: Sequence[SemanticIndex], text: str, mode: Mode | None
) -> tuple[Mode, Sequence[_Question]]:
    """The lanes that can be searched, and the text as a vector and as terms for each index."""
    has_words = all(index.lexical is not None for index in indexes)
    lanes: Mode = mode or ("hybrid" if has_words else "dense")
    if lanes != "lexical":
        try:
            vectors = [vector_text(index.query_vector(text)) for index in indexes]
            return lanes, list(zip(vectors, _terms(indexes, text, lanes), strict=True))
        except EmbeddingError as error:
            if mode is not None or lanes == "dense":
                raise
            names = ", ".join(index.name for index in indexes)
            logger.warning("%s are searched for words only: %s", names, error)
    return "lexical", [(None, terms) for terms in _terms(indexes, text, "lexical")]


def _terms(indexes: Sequence[SemanticIndex], text: str, mode: Mode) -> list[str | None]:
    encoded = [index.sparse_model is not None and mode != "dense" for index in indexes]
    pairs = zip(indexes, encoded, strict=True)
    return [index.query_terms(text) if one else None for index, one in pairs]


def _part(
    index: SemanticIndex, text: str, question: _Question, limit: int, mode: Mode
) -> Select[Any]:
    source = source_of(index.entity)
    function = getattr(getattr(func, source.table.schema or "public"), index.name)
    names = [key.name for key in source.table.primary_key.columns]
    vector, terms = question
    rows = function(
        literal(text, Text),
        limit,
        literal(mode, Text),
        cast(literal(vector, Text), VECTOR),
        func.embedsql.default_wait_ms(),
        cast(literal(terms, Text), SPARSEVEC),
    ).table_valued(
        *names,
        column("score", Double),
        column("similarity", Double),
        column("bm25", Double),
        column("snippet", Text),
        column("chunk_seq", Integer),
        name=f"{index.name}_hit",
    )
    key = func.to_jsonb(rows.c[names[0]])
    if len(names) > 1:
        pairs = [part for name in names for part in (literal(name, Text), rows.c[name])]
        key = func.jsonb_build_object(*pairs)
    return select(
        literal(index.name, Text).label("index_name"),
        cast(key, JSONB).label("key"),
        rows.c.score,
        rows.c.similarity,
        rows.c.bm25,
        rows.c.snippet,
    )
