"""The primary key of a source."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BUILT_IN_TYPES = frozenset(
    {
        *("smallint", "integer", "bigint", "numeric", "real", "double precision", "oid", "boolean"),
        *("uuid", "text", "character varying", "bytea", "inet"),
        *("date", "timestamp without time zone", "timestamp with time zone"),
    }
)


@dataclass(frozen=True)
class KeyColumn:
    """One column of the source's primary key, with its SQL type as ``format_type`` prints it."""

    name: str
    type: str

    @property
    def is_built_in(self) -> bool:
        """Whether every search_path finds its operators; the length is no part of a type."""
        return re.sub(r"\(.*?\)", "", self.type) in BUILT_IN_TYPES


def shown_key(columns: Sequence[KeyColumn], values: Sequence[Any]) -> Any:
    """A key as results show it: a scalar, or an object by column for a key of several."""
    if len(columns) == 1:
        return values[0]
    return {column.name: value for column, value in zip(columns, values, strict=True)}


def document_id(key: Any) -> str:
    """A shown key as judgements write it; the values of several columns with tabs between."""
    return "\t".join(map(str, key.values())) if isinstance(key, dict) else str(key)
