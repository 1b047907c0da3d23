"""Read what a batch needs: the rows' current texts, and vectors of equal texts to reuse."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from embedsql import sqlfile
from embedsql.changelog import Batch
from embedsql.registry import RegisteredIndex
from embedsql.slots import Slots


@dataclass(frozen=True)
class SourceText:
    """The current text of one claimed row. A claimed key without one is a row that is gone.

    Attributes:
        place: Position of its key in the batch, from 0.
        input_hash: Of the whole text, taken by the server.
        unchanged: Whether the stored chunks were made of this very text; it is not sent then.
        chunks: Stored chunks; counts only where unchanged.
        text: Up to the declared number of characters; '' where blank or unchanged.
        heading: What the text begins with, the first of several columns; '' for a single column.
        truncated: Whether the text goes on beyond what was sent, or did so when it was stored.
    """

    place: int
    input_hash: bytes
    unchanged: bool
    chunks: int
    text: str
    heading: str
    truncated: bool


class Texts:
    """Reads the source of one index."""

    def __init__(self, index: RegisteredIndex) -> None:
        slots = Slots(index.spec, index.names)
        self._most = index.spec.max_characters
        self._read = sqlfile.statement(
            __package__,
            "read.sql",
            key_parameters=slots.key_parameters,
            key_columns=slots.key_columns,
            input=slots.input_expression("s"),
            heading=slots.heading_expression("s"),
            source=slots.source,
            key_match=slots.key_match("s", "c"),
            row=slots.row,
        )
        self._reusable = sqlfile.statement(__package__, "reusable.sql", chunk=slots.chunk)

    def read(self, connection: psycopg.Connection, batch: Batch) -> list[SourceText]:
        """The current texts of the batch's rows, in batch order; none of a row that is gone."""
        with connection.transaction():
            # a row hidden by a policy must be an error: it would be taken for a deleted one
            connection.execute("SET LOCAL row_security = off")
            values: dict[str, Any] = {**batch.key_arrays(), "most": self._most}
            found = connection.execute(self._read, values).fetchall()
        return [_source_text(row) for row in found]

    def reusable(
        self, connection: psycopg.Connection, content_hashes: Iterable[bytes]
    ) -> dict[bytes, Any]:
        """Stored vectors of chunks with equal content, by content hash; shape (dimensions,)."""
        hashes: Sequence[bytes] = list(content_hashes)
        if not hashes:
            return {}
        cursor = connection.execute(self._reusable, {"hashes": hashes}, binary=True)
        return {bytes(content_hash): vector.to_numpy() for content_hash, vector in cursor}


def _source_text(row: tuple[Any, ...]) -> SourceText:
    place, input_hash, unchanged, chunks, was_truncated, text, too_long, heading = row
    return SourceText(
        place - 1,
        bytes(input_hash),
        unchanged,
        chunks,
        text,
        heading if len(heading) < len(text) else "",
        too_long or (unchanged and was_truncated),
    )
