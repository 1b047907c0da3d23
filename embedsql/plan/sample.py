"""A sample of the source's rows, cut into chunks as a worker would cut them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from embedsql import sqlfile
from embedsql.chunking import Chunk, Chunker
from embedsql.chunking.tokens import TokenCounter
from embedsql.embedders import Embedder
from embedsql.inputs import Inputs
from embedsql.slots import Slots
from embedsql.spec import IndexSpec
from embedsql.store.read import around_text

WHOLE_TABLE_BYTES = 1 << 30  # of a bigger one, whole pages are sampled, so that few are read

_SIZE = """
SELECT count(*), (SELECT coalesce(sum(pg_relation_size(t.relid)), 0)
                  FROM pg_partition_tree(to_regclass(%(table)s)) AS t)
FROM {source}
"""


@dataclass(frozen=True)
class SampledChunk:
    """A chunk, the text of its row's key, and its tokens."""

    key: tuple[str, ...]
    chunk: Chunk
    tokens: int


@dataclass(frozen=True)
class Sample:
    """What was found of ``sampled`` rows of ``rows``.

    Attributes:
        rows: Rows of the source.
        sampled: Rows looked at.
        blank: Of these, without text.
        truncated: Of these, not read to their end.
        chunks: Of these, all.
    """

    rows: int
    sampled: int
    blank: int
    truncated: int
    chunks: Sequence[SampledChunk]

    @property
    def factor(self) -> float:
        """Rows that each sampled row stands for."""
        return self.rows / self.sampled if self.sampled else 0.0

    @property
    def tokens(self) -> int:
        """Tokens of the sample's chunks."""
        return sum(one.tokens for one in self.chunks)


def take_sample(
    connection: psycopg.Connection, spec: IndexSpec, embedder: Embedder | None, most: int
) -> Sample:
    """Read and chunk about ``most`` rows.

    Args:
        connection: Of a role that may read the source.
        spec: The declaration.
        embedder: Its model. ``None``: it is away, and tokens are guessed.
        most: Rows to sample.
    """
    slots, inputs = Slots(spec), Inputs(spec)
    size = sql.SQL(_SIZE).format(source=slots.source)
    row = connection.execute(size, {"table": sqlfile.text(slots.source)}).fetchone()
    assert row is not None
    rows, table_bytes = int(row[0]), int(row[1])
    statement = sqlfile.statement(
        __package__,
        "sample.sql",
        key_texts=sqlfile.comma(
            sql.SQL("s.{}::text").format(sqlfile.identifier(column.name)) for column in spec.key
        ),
        text=inputs.text,
        context=inputs.context,
        too_long=inputs.too_long,
        source=slots.source,
        method=sql.SQL("BERNOULLI" if table_bytes <= WHOLE_TABLE_BYTES else "SYSTEM"),
    )
    percent = min(100.0, 100.0 * most / rows) if rows else 100.0
    found = connection.execute(statement, {"percent": percent, "most": 2 * most}).fetchall()
    return _chunked(spec, embedder, rows, found)


def _chunked(
    spec: IndexSpec, embedder: Embedder | None, rows: int, found: Sequence[tuple[Any, ...]]
) -> Sample:
    tokenizer = None if embedder is None else embedder.tokenizer
    most = None if embedder is None else embedder.max_tokens
    chunker = Chunker(spec.chunking, tokenizer, most, spec.parsed_template)
    counter = TokenCounter(tokenizer)
    named = Inputs(spec).context_columns if spec.template is not None else None
    chunks: list[SampledChunk] = []
    blank = truncated = 0
    for *key, text, context, too_long in found:
        cut = False
        text, heading, columns = around_text(text, context, named)
        if text:
            pieces, cut = chunker.split(text[: spec.max_characters], heading, columns)
            counts = counter.counts([piece.content for piece in pieces])
            read = counts if most is None else [min(count, most) for count in counts]
            chunks += map(SampledChunk, [tuple(key)] * len(pieces), pieces, read)
        blank += not text
        truncated += bool(too_long or cut)
    return Sample(rows, len(found), blank, truncated, chunks)
