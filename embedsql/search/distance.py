"""Distances as the approximate index and the stored vectors know them.

Each expression is the very one that the index was built on, else the planner would not use it.
"""

from __future__ import annotations

from typing import Any

from pgvector.sqlalchemy import BIT, HALFVEC, VECTOR
from sqlalchemy import Double, cast, func
from sqlalchemy.sql import ColumnElement

from embedsql.search.bound import BoundQuery
from embedsql.search.target import Target
from embedsql.vectors import OPERATORS, VectorForm

_TYPES = {"vector": VECTOR, "halfvec": HALFVEC, "bit": BIT}


def distance(target: Target, query: BoundQuery) -> ColumnElement[Any]:
    """By the stored vectors: exact, but for what their type rounds.

    The vector goes as text and is cast to the column's own type: another type would cost the
    index, and every driver can send text.
    """
    column = target.chunk.c.embedding
    return _compared(column, _given(query, column.type), OPERATORS[target.vectors.metric])


def index_distance(target: Target, query: BoundQuery) -> ColumnElement[Any]:
    """By what is indexed: the first of two stages, or the only one."""
    vectors = target.vectors
    if not vectors.two_stage:
        return distance(target, query)
    operator = "<~>" if vectors.indexed_as == "bit" else OPERATORS[vectors.metric]
    asked = _indexed(_given(query, VECTOR()), vectors, query)
    if vectors.has_codes:
        return _compared(target.chunk.c.bits, asked, operator)
    return _compared(_indexed(target.chunk.c.embedding, vectors, query), asked, operator)


def indexed_column(target: Target) -> ColumnElement[Any]:
    """What the index is made of, as it is stored; null where a chunk has no vector."""
    return target.chunk.c.bits if target.vectors.has_codes else target.chunk.c.embedding


def similarity(vectors: VectorForm, distance: ColumnElement[Any]) -> ColumnElement[Any]:
    """Larger is nearer: the cosine, the inner product, or 1 / (1 + the Euclidean distance)."""
    if vectors.metric == "cosine":
        return 1 - distance
    return -distance if vectors.metric == "inner_product" else 1 / (1 + distance)


def _indexed(
    vector: ColumnElement[Any], vectors: VectorForm, query: BoundQuery
) -> ColumnElement[Any]:
    """What the index holds of a vector; see ``VectorForm.index_expression``."""
    seen = vectors.index_dimensions or query.dimensions
    if vectors.index_dimensions is not None:
        vector = func.subvector(vector, 1, seen, type_=vector.type)
    if vectors.indexed_as == "bit":
        vector = func.binary_quantize(vector)
    return cast(vector, _TYPES[vectors.indexed_as](seen))


def _given(query: BoundQuery, kind: Any) -> ColumnElement[Any]:
    return cast(query.vector, kind)


def _compared(
    left: ColumnElement[Any], right: ColumnElement[Any], operator: str
) -> ColumnElement[Any]:
    return left.op(operator, return_type=Double())(right)
