"""Read what a batch needs: the rows' current texts, and vectors of equal texts to reuse."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from embedsql import sqlfile
from embedsql.changelog import BY_KEY, Batch
from embedsql.inputs import Inputs
from embedsql.registry import RegisteredIndex
from embedsql.slots import Slots
from embedsql.store.arrays import Array, keys_of
from embedsql.store.outcome import Encoded

# row_security: a row that a policy hides would be taken for a deleted one; now it is an error.
# lock_timeout: a table that somebody keeps locked must not keep the other indexes waiting.
_SETTINGS = f"""SELECT set_config('row_security', 'off', true),
    set_config('lock_timeout', '2s', true), {BY_KEY}"""


class SourceText(NamedTuple):
    """The current text of one claimed row. A claimed key without one is a row that is gone.

    Attributes:
        place: Position of its key in the batch, from 0.
        seen: The row's xmin, which tells one version of it from another.
        input_hash: Of all text columns, whole, and the template, taken by the server.
        unchanged: Whether the stored chunks were made of this very text; it is not sent then. Never
            where the source holds the vectors.
        anew: Whether somebody asked to have it embedded again.
        chunks: Stored chunks; counts only where unchanged.
        text: What is cut into chunks, up to the declared number of characters; '' where blank or
            unchanged.
        heading: What the text begins with, the first of several columns; '' for a single column
            and where there is a template.
        named: The columns that the template names. ``None``: there is no template, or the text
            consists of these columns, since the others are blank.
        truncated: Whether a column goes on beyond what was sent, or did so when it was stored.
    """

    place: int
    seen: bytes
    input_hash: bytes
    unchanged: bool
    anew: bool
    chunks: int
    text: str
    heading: str
    named: Mapping[str, str] | None
    truncated: bool


class Texts:
    """Reads the source of one index, and the vectors of texts that were embedded before.

    Args:
        index: The index.
        beside: Another generation of it, of the same space: its vectors serve, too, where they are
            as exact.
    """

    def __init__(self, index: RegisteredIndex, beside: RegisteredIndex | None = None) -> None:
        slots, inputs = Slots(index.spec, index.names), Inputs(index.spec)
        self._most = index.spec.max_characters
        self._named = inputs.context_columns if index.spec.template is not None else None
        self._read = sqlfile.statement(
            __package__,
            "read.sql",
            key_parameters=slots.key_parameters,
            key_columns=slots.key_columns,
            input_hash=inputs.hash,
            text=inputs.text,
            context=inputs.context,
            too_long=inputs.too_long,
            source=slots.source,
            key_match=slots.key_match("s", "c"),
            row=slots.row,
            row_of_claimed=slots.same_key("r", "c"),
            # A vector in the source goes with its row: a row that was deleted and inserted anew has
            # the old hash and no vector.
            vector_stays=sqlfile.raw("false" if index.spec.storage == "column" else "true"),
        )
        self._own = _reusable(index)
        self._beside = None
        if beside is not None and beside.spec.vectors.is_as_exact_as(index.spec.vectors):
            self._beside = _reusable(beside)

    def read(self, connection: psycopg.Connection, batch: Batch) -> list[SourceText]:
        """The current texts of the batch's rows, in batch order; none of a row that is gone."""
        with connection.transaction():
            connection.execute(_SETTINGS)
            found = connection.execute(self._read, keys_of(batch), binary=True).fetchall()
        return sorted(self._source_text(row) for row in found)

    def reusable(
        self, connection: psycopg.Connection, content_hashes: Iterable[bytes]
    ) -> dict[bytes, Encoded]:
        """What is stored of chunks with equal content, by content hash."""
        hashes = set(content_hashes)
        known = self._stored(connection, self._own, hashes)
        try:
            return known | self._stored(connection, self._beside, hashes - known.keys())
        except psycopg.errors.LockNotAvailable:
            return known
        except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
            self._beside = None  # dropped, or not for this role
            return known

    def _stored(
        self,
        connection: psycopg.Connection,
        statement: sql.Composed | None,
        hashes: Collection[bytes],
    ) -> dict[bytes, Encoded]:
        if statement is None or not hashes:
            return {}
        values = {"hashes": Array(list(hashes), "bytea")}
        with connection.transaction():
            connection.execute(_SETTINGS)
            found = connection.execute(statement, values, binary=True).fetchall()
        return {
            content_hash: Encoded(vector.to_numpy(), terms) for content_hash, vector, terms in found
        }

    def _source_text(self, row: tuple[Any, ...]) -> SourceText:
        place, seen, input_hash, unchanged, anew, chunks, was_truncated, text, context, too_long = (
            row
        )
        text, heading, named = around_text(text, context, self._named)
        return SourceText(
            place - 1,
            seen,
            input_hash,
            unchanged,
            anew,
            chunks,
            text[: self._most],
            heading,
            named,
            too_long or len(text) > self._most or (unchanged and was_truncated),
        )


def _reusable(index: RegisteredIndex) -> sql.Composed | None:
    if index.spec.storage == "column":  # the hash may outlive the vector, which goes with its row
        return None
    given = sql.SQL("NULL::text" if index.spec.sparse_model is None else "terms::text")
    view = Slots(index.spec, index.names).chunk_view
    return sqlfile.statement(
        __package__,
        "reusable.sql",
        chunk_view=view,
        terms=given,
        index_id=sqlfile.literal(index.index_id),
    )


def around_text(
    text: str, context: Sequence[str], columns: Sequence[str] | None
) -> tuple[str, str, Mapping[str, str] | None]:
    """What is cut into chunks, its heading, and the columns that a template names.

    Args:
        text: See ``Inputs.text``.
        context: See ``Inputs.context``.
        columns: The columns that the template names. ``None``: there is no template.
    """
    if columns is None:
        heading = context[0] if context and len(context[0]) < len(text) else ""
        return text, heading, None
    if text:
        return text, "", dict(zip(columns, context, strict=True))
    return "\n\n".join(value for value in context if value), "", None
