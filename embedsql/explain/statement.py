"""The ``.sql`` files of this package for one index, run in whatever session the caller has."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from psycopg import sql
from sqlalchemy import RowMapping, Text, and_, cast, literal, text
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement
from sqlalchemy.types import UserDefinedType

from embedsql import sqlfile
from embedsql.errors import QueryError
from embedsql.key import shown_key
from embedsql.naming import quoted
from embedsql.search.target import Target
from embedsql.slots import Slots
from embedsql.spec import IndexSpec

_PARAMETER = re.compile(r"(?<!%)%\((\w+)\)s")


@dataclass(frozen=True)
class Subject:
    """The index that is explained.

    Attributes:
        session: Where its questions are asked.
        spec: Its declaration.
        target: The same, for searching.
    """

    session: Session
    spec: IndexSpec
    target: Target


class SqlType(UserDefinedType[Any]):
    """A type by its SQL name."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        """The name."""
        return self.name


class Key:
    """The key of one row, as texts, which every driver can send for every type.

    Args:
        spec: The index.
        given: A scalar; for several columns a tuple in their order, or a mapping by their names.

    Raises:
        QueryError: It does not fit the index's key.
    """

    def __init__(self, spec: IndexSpec, given: Any) -> None:
        names = [column.name for column in spec.key]
        if isinstance(given, Mapping):
            values = [given.get(name) for name in names] if set(given) == set(names) else []
        else:
            values = list(given) if isinstance(given, (tuple, list)) else [given]
        if len(values) != len(names) or any(value is None for value in values):
            raise QueryError(f"the key of {spec.name} is {', '.join(names)}: give a value for each")
        self.spec = spec
        self.texts = [_as_text(value) for value in values]

    @property
    def parameters(self) -> dict[str, str]:
        """For the files' ``key_1``, ``key_2``, ..."""
        return {f"key_{place}": value for place, value in enumerate(self.texts, 1)}

    def values(self) -> list[ColumnElement[Any]]:
        """Each, as an SQL expression of its column's type."""
        return [
            cast(literal(value, Text), SqlType(column.type))
            for value, column in zip(self.texts, self.spec.key, strict=True)
        ]

    def matches(self, columns: Sequence[ColumnElement[Any]]) -> ColumnElement[bool]:
        """Whether ``columns`` hold it."""
        pairs = zip(columns, self.values(), strict=True)
        return and_(*(column == value for column, value in pairs))


def keys_json(spec: IndexSpec, keys: Sequence[Sequence[Any]]) -> str:
    """Keys as the files take many of them."""
    return json.dumps([shown_key(spec.key, [_as_text(part) for part in key]) for key in keys])


def run(
    subject: Subject,
    file: str,
    parameters: Mapping[str, Any],
    /,
    slots: Slots | None = None,
    **more: sql.Composable,
) -> Sequence[RowMapping]:
    """The lines of the file ``file``."""
    slots = slots or Slots(subject.spec)
    parts: dict[str, sql.Composable] = {
        "asked_key": _asked_key(slots),
        "index": sqlfile.literal(slots.spec.name),
        "pinned": sqlfile.literal(subject.target.generation),
        "chunk_view": sqlfile.kit(subject.target.chunk.name),
        "chunk_of_key": slots.same_key("c", "k"),
        "key_columns": slots.key_columns,
        "key_from_json": slots.key_from_json("key"),
        "configuration": _configuration(slots.spec),
    }
    composed = sqlfile.statement(__package__, file, **(parts | more))
    plain = composed.as_string(None).replace(":", r"\:")
    plain = _PARAMETER.sub(r"(CAST(:\1 AS text))", plain).replace("%%", "%")
    return subject.session.execute(text(plain), dict(parameters)).mappings().all()


def _asked_key(slots: Slots) -> sql.Composed:
    return sqlfile.comma(
        sql.SQL("{}::{} AS {}").format(
            sql.Placeholder(own), sqlfile.raw(column.type), sqlfile.identifier(own)
        )
        for own, column in zip(slots.own_key, slots.spec.key, strict=True)
    )


def _configuration(spec: IndexSpec) -> sql.Composed:
    return sql.SQL("{}::regconfig").format(sqlfile.literal(quoted(spec.lexical or "simple")))


def _as_text(value: Any) -> str:
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    return str(value)
