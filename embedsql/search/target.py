"""What a search reads: the source and the chunks of one index. Made once, used by every search."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import Select, Table, and_, select
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.selectable import FromClause

from embedsql.naming import key_columns
from embedsql.search.query import Query
from embedsql.spec import Quantization
from embedsql.tables import Source, chunk_table


@dataclass(frozen=True, eq=False)
class Target:
    """One index, for searching.

    The compiled-statement cache knows a table by identity, so one target should serve all
    searches of an index.

    Attributes:
        index: The index's name.
        source: Its source.
        quantization: How its vectors are stored.
        lexical: Its text-search configuration; ``None``: no lexical lane.
        generation: The generation that is read. ``None``: the one that serves.
    """

    index: str
    source: Source
    quantization: Quantization = "none"
    lexical: str | None = "english"
    generation: int | None = None

    @cached_property
    def chunk(self) -> Table:
        """The view of its chunks."""
        types = [column.type for column in self.source.table.primary_key.columns]
        return chunk_table(self.index, types, self.quantization, self.generation)

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

    def chunks_of_source(self, query: Query, *columns: ColumnElement[Any]) -> Select[Any]:
        """Key, chunk number and ``columns`` of the chunks whose source row passes the filters.

        Joined to the source, so that a vector without its row is never found, and row-level
        security holds. The source comes first: a search then locks tables in the order in which
        a TRUNCATE of the source does.
        """
        return (
            select(*self.key_of(self.chunk), self.chunk.c.chunk_seq, *columns)
            .select_from(self.source.entity)
            .join(self.chunk, self.is_row_of(self.chunk))
            .where(*query.where)
        )
