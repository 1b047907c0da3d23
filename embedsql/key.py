"""The primary key of a source."""

from __future__ import annotations

import re
from dataclasses import dataclass

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
