"""The tables of a search, as SQLAlchemy sees them: the source, and the view of its chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pgvector.sqlalchemy import BIT, HALFVEC, SPARSEVEC, VECTOR
from sqlalchemy import Column, Integer, MetaData, Table, Text, inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapper
from sqlalchemy.sql import ColumnElement
from sqlalchemy.types import TypeEngine

from embedsql.errors import DeclarationError
from embedsql.key import KeyColumn
from embedsql.naming import SCHEMA, ObjectNames, key_columns
from embedsql.vectors import VectorForm

_INFO = "embedsql"  # under this key of a metadata's ``info`` stand the declarations
# types that SQLAlchemy and PostgreSQL's format_type() spell differently
_FORMAL = {"varchar": "character varying", "char": "character", "float": "double precision"}


@dataclass(frozen=True)
class Source:
    """What is searched: a mapped class or a ``Table``.

    Attributes:
        entity: As the caller gave it; results carry it.
        table: Its table.
        key: The primary key's columns, in order.
    """

    entity: Any
    table: Table
    key: tuple[ColumnElement[Any], ...]

    @property
    def key_types(self) -> tuple[KeyColumn, ...]:
        """The key's names and SQL types."""
        return tuple(
            KeyColumn(column.name, _sql_type(column.type))
            for column in self.table.primary_key.columns
        )


def source_of(entity: Any) -> Source:
    """The source that a mapped class or a ``Table`` stands for.

    Raises:
        DeclarationError: It is neither, or has no primary key.
    """
    table = _table_of(entity)
    if table is entity:
        key = tuple(table.primary_key.columns)
    else:
        mapper = inspect(entity)
        key = tuple(
            getattr(entity, mapper.get_property_by_column(column).key)
            for column in table.primary_key.columns
        )
    if not key:
        raise DeclarationError(f"the table {table.name!r} has no primary key")
    return Source(entity, table, key)


def declare_on(entity: Any, index: object) -> None:
    """Note a declaration in the metadata of its table, where autogenerate finds it.

    Not in the table's own ``info``, which Alembic writes into revisions.

    Raises:
        DeclarationError: The entity is neither a mapped class nor a ``Table``.
    """
    _table_of(entity).metadata.info.setdefault(_INFO, []).append(index)


def declared_in(metadata: MetaData) -> Sequence[Any]:
    """The semantic indexes (``SemanticIndex``) that are declared on the tables of a metadata."""
    return tuple(metadata.info.get(_INFO, ()))


def chunk_table(
    index: str,
    key_types: Sequence[TypeEngine[Any]],
    vectors: VectorForm,
    generation: int | None = None,
) -> Table:
    """The view of an index's chunks that searches read; one row a chunk.

    Of the generation that serves, or of the one that is named.
    """
    names = ObjectNames(index, generation or 1)
    vector: TypeEngine[Any] = VECTOR() if vectors.stored_as == "vector" else HALFVEC()
    columns: list[Column[Any]] = [
        Column(name, kind)
        for name, kind in zip(key_columns(len(key_types)), key_types, strict=True)
    ]
    return Table(
        names.serving_view if generation is None else names.chunk_view,
        MetaData(schema=SCHEMA),
        *columns,
        Column("chunk_seq", Integer),
        Column("start_offset", Integer),
        Column("chunk", Text),
        Column("lexemes", TSVECTOR),
        Column("terms", SPARSEVEC),
        Column("embedding", vector),
        *([Column("bits", BIT())] if vectors.has_codes else []),
    )


def _table_of(entity: Any) -> Table:
    if isinstance(entity, Table):
        return entity
    mapper = inspect(entity, raiseerr=False)
    if isinstance(mapper, Mapper) and isinstance(mapper.local_table, Table):
        return mapper.local_table
    later = ": map it first" if isinstance(entity, type) else ", itself and not its name"
    raise DeclarationError(
        f"{entity!r} is neither a mapped class nor a Table: give the one whose rows are searched"
        f"{later}"
    )


def _sql_type(column_type: TypeEngine[Any]) -> str:
    """A type's name as ``format_type`` prints it."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    spelled = str(column_type.compile(dialect=dialect))
    if '"' in spelled:  # a type of a name that SQL would fold to lower case
        return spelled
    word, _, rest = spelled.lower().replace(", ", ",").partition("(")
    return _FORMAL.get(word, word) + (f"({rest}" if rest else "")
