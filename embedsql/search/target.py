"""What a search reads: the source and the chunks of one index. Made once, used by every search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sqlalchemy import (
    Column,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    cast,
    func,
    literal,
    not_,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import REGCONFIG
from sqlalchemy.orm import join
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.selectable import FromClause, TableValuedAlias
from sqlalchemy.types import NullType

from embedsql.choices import LexicalIndex
from embedsql.errors import QueryError
from embedsql.naming import key_columns, quoted
from embedsql.search.bound import BoundQuery
from embedsql.search.query import Mode
from embedsql.spec import IndexSpec
from embedsql.tables import Source, chunk_table, source_of
from embedsql.vectors import VectorForm


@dataclass(frozen=True, eq=False)
class Target:
    """One index, for searching.

    The compiled-statement cache knows a table by identity, so one target should serve all
    searches of an index.

    Attributes:
        index: The index's name.
        source: Its source.
        vectors: How its vectors are stored and indexed.
        lexical: Its text-search configuration; ``None``: no lexical lane.
        generation: The generation that is read. ``None``: the one that serves.
        lexical_index: What serves the lexical lane.
        learned: Whether its weights are those of a sparse encoder instead of BM25's.
    """

    index: str
    source: Source
    vectors: VectorForm = field(default_factory=VectorForm)
    lexical: str | None = "english"
    generation: int | None = None
    lexical_index: LexicalIndex = "gin"
    learned: bool = False

    @cached_property
    def chunk(self) -> Table:
        """The view of its chunks."""
        types = [column.type for column in self.source.table.primary_key.columns]
        return chunk_table(self.index, types, self.vectors, self.generation)

    @property
    def key_names(self) -> list[str]:
        """Our names of the key's columns."""
        return key_columns(len(self.source.key))

    def key_of(self, selectable: FromClause) -> list[ColumnElement[Any]]:
        """Our key columns of ``selectable``."""
        return [selectable.c[name] for name in self.key_names]

    def is_row_of(self, selectable: FromClause) -> ColumnElement[bool]:
        """Whether a source row is the one that ``selectable``'s key names."""
        pairs = zip(self.source.key, self.key_of(selectable), strict=True)
        return and_(*(column == own for column, own in pairs))

    def chunks_of_source(self, query: BoundQuery, *columns: ColumnElement[Any]) -> Select[Any]:
        """Key, chunk number and ``columns`` of the chunks whose source row passes the filters.

        Joined to the source, so that a vector without its row is never found, and row-level
        security holds. The source comes first: a search then locks tables in the order in which
        a TRUNCATE of the source does.
        """
        return (
            select(*self.key_of(self.chunk), self.chunk.c.chunk_seq, *columns)
            .select_from(self.joined(query))
            .join(self.chunk, self.is_row_of(self.chunk))
            .where(*self.filters(self.source.key, query))
        )

    def vector_of(self, key: Sequence[Any]) -> ColumnElement[Any]:
        """The vector of a row's first chunk; null where it has none or is hidden."""
        chunk = self.chunk.alias("like_chunk")
        own = zip(self.key_of(chunk), self.source.key, key, strict=True)
        same = [column == literal(value, kind.type) for column, kind, value in own]
        first = (
            select(chunk.c.embedding)
            .select_from(self.source.entity)
            .join(chunk, self.is_row_of(chunk))
            .where(chunk.c.chunk_seq == 0, *same)
        )
        return first.correlate(None).scalar_subquery()

    def row_of(self, chunks: FromClause, query: BoundQuery) -> Select[Any]:
        """One line where the source row of a line of ``chunks`` passes the filters."""
        own = self.key_of(chunks)
        return (
            select(literal(1).label("there"))
            .select_from(self.joined(query))
            .where(self.is_row_of(chunks), *self.filters(own, query))
            .limit(1)
            .correlate(chunks)
        )

    def joined(self, query: BoundQuery) -> Any:
        """The source, with what the filters speak of."""
        found = self.source.entity
        for other, condition in zip(query.joined, query.join_on, strict=True):
            found = join(found, other, condition)
        return found

    def best_mode(self, *, in_words: bool = True) -> Mode:
        """Both lanes, unless the index keeps no words, or the question has none."""
        return "dense" if self.lexical is None or not in_words else "hybrid"

    def require_lexical(self) -> str:
        """The declared text-search configuration.

        Raises:
            QueryError: The index has no lexical lane.
        """
        if self.lexical is None:
            raise QueryError(
                f"the index {self.index!r} was made without a lexical lane: search it with mode "
                "'dense', or without a mode"
            )
        return self.lexical

    def configuration(self) -> ColumnElement[Any]:
        """The same, as SQL."""
        return cast(literal(quoted(self.require_lexical()), Text), REGCONFIG)

    def filters(
        self, key: Sequence[ColumnElement[Any]], query: BoundQuery
    ) -> Sequence[ColumnElement[bool]]:
        """All that a row must pass: the caller's condition, and the words that are required."""
        return (*self.conditions(query), *self.asked_of(key, query))

    def conditions(self, query: BoundQuery) -> Sequence[ColumnElement[bool]]:
        """The caller's condition."""
        return () if query.where is None else (query.where,)

    def asked(self, query: BoundQuery) -> TableValuedAlias:
        """What the query's text requires and excludes; see ``embedsql.read_question``."""
        return func.embedsql.read_question(
            self.index, self.configuration(), query.text, self.generation
        ).table_valued("required", "excluded", name="asked")

    def checked_key(self, key: Any, of: str) -> Sequence[Any]:
        """The values of a key that a caller gave: a scalar, or a tuple.

        Raises:
            QueryError: It has more or fewer than the source's key, or is a row itself; ``of`` says
                whose it is.
        """
        values = key if isinstance(key, tuple) else (key,)
        if any(hasattr(value, "_sa_instance_state") for value in values):
            raise QueryError(f"{of} needs the key of a row, not the row")
        if len(values) != len(self.source.key):
            wanted = len(self.source.key)
            raise QueryError(f"{of} needs a key of {wanted} columns, not {len(values)}")
        return values

    def asked_of(
        self, key: Sequence[ColumnElement[Any]], query: BoundQuery
    ) -> Sequence[ColumnElement[bool]]:
        """Whether a row has what the query's text requires and nothing that it excludes.

        ``NOT IN``, twice for what is required, since PostgreSQL turns no ``NOT IN`` into a join,
        which would cost the dense lane its index.
        """
        if not query.has_operators:
            return ()
        asked = self.asked(query)
        required = select(asked.c.required).scalar_subquery()
        excluded = select(asked.c.excluded).scalar_subquery()
        row = key[0] if len(key) == 1 else tuple_(*key)
        chunk = self.chunk.alias("asked_chunk")

        def matching(asked_words: Any) -> Any:
            found = select(*self.key_of(chunk)).where(chunk.c.lexemes.op("@@")(asked_words))
            return found.correlate(None)

        return (
            row.not_in(matching(excluded)),
            or_(required.is_(None), not_(row.not_in(matching(required)))),
        )


def registered_target(spec: IndexSpec, generation: int | None = None) -> Target:
    """The target of a declaration alone: of the source, only the key is known."""
    columns = [Column(column.name, NullType, primary_key=True) for column in spec.key]
    source = source_of(Table(spec.table, MetaData(), *columns, schema=spec.schema))
    return Target(
        spec.name,
        source,
        spec.vectors,
        spec.lexical,
        generation,
        lexical_index=spec.lexical_index,
        learned=spec.sparse_model is not None,
    )
