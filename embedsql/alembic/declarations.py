"""The semantic indexes that are declared on the tables of a metadata, as plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from sqlalchemy import MetaData, Table
from sqlalchemy.engine import Connection

from embedsql.alembic.found import FoundIndex, same_type
from embedsql.errors import DeclarationError
from embedsql.index import SemanticIndex
from embedsql.key import KeyColumn
from embedsql.spec import IndexSpec
from embedsql.tables import declared_in, source_of


@dataclasses.dataclass(frozen=True)
class Declared:
    """One declaration.

    Attributes:
        spec: As plain values.
        table: On which it is declared.
    """

    spec: IndexSpec
    table: Table

    @property
    def partitioned(self) -> bool:
        """Whether the model says that its table is partitioned, or another's child."""
        options = self.table.dialect_options["postgresql"]
        return bool(options.get("partition_by") or options.get("inherits"))


def declared_indexes(
    metadata: MetaData | Sequence[MetaData] | None,
    bind: Connection,
    registered: Mapping[str, FoundIndex],
    default_schema: str,
) -> dict[str, Declared]:
    """The declarations on an application's tables, by name.

    One index may be declared for several classes of one table, if all declare it alike.

    Args:
        metadata: Of the tables, as ``target_metadata`` gives it.
        bind: Asked whether two spellings mean one type.
        registered: What is registered under their names; tells the dimensions of a model that is
            still the same, so that it need not be loaded.
        default_schema: Of tables that name none.

    Raises:
        DeclarationError: One cannot be, or two of one name differ.
        ConfigurationError: A model has to tell its dimensions and cannot be loaded.
    """
    found: dict[str, Declared] = {}
    several = metadata if isinstance(metadata, Sequence) else filter(None, [metadata])
    for each in several:
        for index in declared_in(each):
            table = source_of(index.entity).table
            spec = _spec(index, table, bind, registered.get(index.name), default_schema)
            before = found.setdefault(index.name, Declared(spec, table))
            if before.spec != spec:
                raise DeclarationError(
                    f"the semantic index {index.name!r} is declared twice, differently: give "
                    "one of the two another name"
                )
    return found


def _spec(
    index: SemanticIndex,
    table: Table,
    bind: Connection,
    registered: FoundIndex | None,
    default_schema: str,
) -> IndexSpec:
    known = registered.spec if registered is not None else None
    dimensions = index.dimensions
    if dimensions is None and known is not None and _same_model(index, known):
        dimensions = known.dimensions
    spec = index.spec if dimensions is None else index.spec_of(dimensions)
    schema = table.schema or default_schema
    key = spec.key if known is None else _in_words_of(known.key, spec.key, bind)
    return dataclasses.replace(spec, schema=schema, key=key)


def _same_model(index: SemanticIndex, spec: IndexSpec) -> bool:
    return (index.model, index.backend) == (spec.model, spec.backend)


def _in_words_of(
    known: tuple[KeyColumn, ...], declared: tuple[KeyColumn, ...], bind: Connection
) -> tuple[KeyColumn, ...]:
    """The declared key, in the registered one's spelling of the same types."""
    if known == declared or [one.name for one in known] != [other.name for other in declared]:
        return declared
    return tuple(
        before if same_type(bind, before.type, now.type) else now
        for before, now in zip(known, declared, strict=True)
    )
