"""The approximate indexes of a semantic index: on its vectors, and on its lexical weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

from psycopg import sql

from embedsql import sqlfile
from embedsql.naming import SCHEMA, ObjectNames
from embedsql.slots import Slots
from embedsql.spec import IndexSpec
from embedsql.vector_slots import VectorSlots

TERMS = "embedsql.indexed_terms(terms)::sparsevec(536870912)"
TERM_OPERATOR_CLASS = "sparsevec_ip_ops"
# estimates of a chunk's weights: BM25's of some 60 different words, a sparse encoder's 200 terms
TERM_BYTES, LEARNED_BYTES = 16 + 8 * 60, 16 + 8 * 200

_file = partial(sqlfile.statement, __package__)


@dataclass(frozen=True)
class ApproximateIndex:
    """One of them, whether it is wanted or not.

    Attributes:
        spec: The declaration.
        names: The index's objects.
        of: What it is on: the ``vectors`` or the lexical ``terms``.
    """

    spec: IndexSpec
    names: ObjectNames
    of: Literal["vectors", "terms"]

    @property
    def is_wanted(self) -> bool:
        """Whether the declaration has it."""
        if self.of == "terms":
            return self.spec.lexical_index == "hnsw"
        return self.spec.index != "none"

    @property
    def name(self) -> str:
        """Its name."""
        return self.names.term_index if self.of == "terms" else self.names.vector_index

    @property
    def schema(self) -> str:
        """Where it stands: with its table."""
        return self.spec.schema if self.of == "vectors" and self._vector.in_source else SCHEMA

    @property
    def table(self) -> sql.Identifier:
        """The table that carries it."""
        return self._slots.chunk if self.of == "terms" else self._vector.indexed_table

    @property
    def column(self) -> sql.Composable:
        """What it has an entry for where it is not null."""
        if self.of == "terms":
            return sql.SQL("terms")
        return self._vector.present_column

    @property
    def method(self) -> str:
        """``hnsw`` or ``ivfflat``; ``none`` where it is not wanted."""
        if self.of == "vectors":
            return self.spec.index
        return "hnsw" if self.is_wanted else "none"

    @property
    def operator_class(self) -> str:
        """By which its entries are compared."""
        return TERM_OPERATOR_CLASS if self.of == "terms" else self.spec.vectors.operator_class

    @property
    def entry_bytes(self) -> int:
        """Of one thing that it holds, about."""
        if self.of == "terms":
            return TERM_BYTES if self.spec.sparse_model is None else LEARNED_BYTES
        return self.spec.vectors.indexed_bytes(self.spec.dimensions)

    def called(self, name: str) -> sql.Identifier:
        """An index of this or another name where this one stands."""
        return sqlfile.identifier(self.schema, name)

    def create(
        self, *, concurrently: bool = True, lists: int = 100, name: str | None = None
    ) -> str | None:
        """The statement that builds it; ``None`` where it is not wanted.

        Args:
            concurrently: Without keeping writers waiting; not inside a transaction.
            lists: Of an IVFFlat index whose spec names no number.
            name: Of the index, where it is to be another than its own: a rebuild beside it.
        """
        if not self.is_wanted:
            return None
        return sqlfile.text(
            _file(
                "vector_index.sql",
                concurrently=sql.SQL("CONCURRENTLY") if concurrently else sql.SQL(""),
                vector_index=sqlfile.identifier(name or self.name),
                indexed_table=self.table,
                method=sqlfile.raw(self.method),
                expression=self.expression,
                operator_class=sqlfile.raw(self.operator_class),
                options=self._options(lists),
            )
        )

    def count(self) -> sql.Composed:
        """The query that counts what it holds."""
        return sql.SQL("SELECT count({}) FROM {}").format(self.column, self.table)

    @property
    def expression(self) -> sql.Composable:
        """What is indexed."""
        if self.of == "terms":
            return sql.SQL("({})").format(sqlfile.raw(TERMS))
        return self._vector.index_expression

    def _options(self, lists: int) -> sql.Composed:
        if self.method == "ivfflat":
            chosen = self.spec.ivfflat.lists or lists
            return sql.SQL("lists = {}").format(sqlfile.literal(chosen))
        return sql.SQL("m = {}, ef_construction = {}").format(
            sqlfile.literal(self.spec.hnsw.m), sqlfile.literal(self.spec.hnsw.ef_construction)
        )

    @cached_property
    def _slots(self) -> Slots:
        return Slots(self.spec, self.names)

    @cached_property
    def _vector(self) -> VectorSlots:
        return VectorSlots(self._slots)


def approximate_indexes(
    spec: IndexSpec, names: ObjectNames | None = None
) -> Sequence[ApproximateIndex]:
    """Those that may be there, the one on the vectors first."""
    named = names or spec.names
    return [ApproximateIndex(spec, named, "vectors"), ApproximateIndex(spec, named, "terms")]


def wanted_indexes(spec: IndexSpec, names: ObjectNames | None = None) -> Sequence[ApproximateIndex]:
    """Those that the declaration has."""
    return [one for one in approximate_indexes(spec, names) if one.is_wanted]
