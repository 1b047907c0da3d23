"""What an index will cost, before anything is made: chunks, tokens, minutes, disk, memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

import psycopg

from embedsql.build_memory import build_memory
from embedsql.ddl import wanted_indexes
from embedsql.embedders import Embedder
from embedsql.errors import DeclarationError
from embedsql.plan.sample import Sample, take_sample
from embedsql.plan.sizes import ann_bytes, row_bytes
from embedsql.plan.speed import tokens_per_second
from embedsql.plan.trial import measure
from embedsql.spec import IndexSpec
from embedsql.vectors import Quantization

__all__ = ["Plan", "Variant", "ann_bytes", "make_plan"]


@dataclass(frozen=True)
class Variant:
    """What the same vectors cost in one form. Bytes; all 0 where it cannot be.

    Attributes:
        quantization: The form.
        declared: Whether it is the one that was asked for.
        heap_bytes: Chunks and vectors, and a row of bookkeeping for each row of the source.
        index_bytes: The approximate indexes.
        other_bytes: The indexes on keys, hashes and lexemes.
        build_memory_bytes: In which the larger of them is built at full speed.
        impossible: Why it cannot be; ``None``: it can.
    """

    quantization: Quantization
    declared: bool
    heap_bytes: int = 0
    index_bytes: int = 0
    other_bytes: int = 0
    build_memory_bytes: int = 0
    impossible: str | None = None

    @property
    def total_bytes(self) -> int:
        """On disk, all together."""
        return self.heap_bytes + self.index_bytes + self.other_bytes


@dataclass(frozen=True)
class Plan:
    """The cost of an index.

    Attributes:
        rows: Rows of the source.
        sampled: Rows that were looked at; the next four are estimates from these.
        chunks: Vectors that will be made.
        tokens: Tokens the model will read.
        blank: Rows without text.
        truncated: Rows of which the model will not read all.
        rows_per_second: At which they are embedded; ``None``: not known.
        variants: What they cost on disk.
    """

    rows: int
    sampled: int
    chunks: int
    tokens: int
    blank: int
    truncated: int
    rows_per_second: float | None
    variants: Sequence[Variant]

    @property
    def minutes(self) -> float | None:
        """Until everything is embedded by one worker like this machine."""
        if self.rows_per_second is None:
            return None
        return self.rows / self.rows_per_second / 60

    def to_json(self) -> dict[str, Any]:
        """The shape of ``embedsql plan --json``, less what was asked."""
        variants = [asdict(one) | {"total_bytes": one.total_bytes} for one in self.variants]
        return asdict(self) | {"minutes": self.minutes, "variants": variants}


def make_plan(
    connection: psycopg.Connection,
    spec: IndexSpec,
    embedder: Embedder | None,
    *,
    sample: int = 500,
    rows_per_second: float | None = None,
) -> Plan:
    """Sample the source, and say what the declaration would cost.

    Writes nothing but temporary tables, which it rolls back.

    Args:
        connection: In autocommit mode, to a database with pgvector.
        spec: The declaration; it need not be in the database.
        embedder: Its model. ``None``: it is away, and tokens are guessed.
        sample: Rows to look at.
        rows_per_second: Where it is known. ``None``: a local model is measured here.
    """
    taken = take_sample(connection, spec, embedder, sample)
    chunks = round(len(taken.chunks) * taken.factor)
    tokens = round(taken.tokens * taken.factor)
    if rows_per_second is None and embedder is not None:
        speed = tokens_per_second(embedder, taken)
        rows_per_second = speed and taken.rows * speed / max(tokens, 1)
    variants = [_variant(connection, spec, kind, taken, chunks) for kind in get_args(Quantization)]
    return Plan(
        rows=taken.rows,
        sampled=taken.sampled,
        chunks=chunks,
        tokens=tokens,
        blank=round(taken.blank * taken.factor),
        truncated=round(taken.truncated * taken.factor),
        rows_per_second=rows_per_second,
        variants=variants,
    )


def _variant(
    connection: psycopg.Connection,
    spec: IndexSpec,
    quantization: Quantization,
    sample: Sample,
    chunks: int,
) -> Variant:
    declared = quantization == spec.quantization
    try:
        form = spec if declared else replace(spec, quantization=quantization, stored=None)
    except DeclarationError as error:
        return Variant(quantization, declared, impossible=str(error))
    sizes = measure(connection, form, sample)
    heap = chunks * sizes.table + sample.rows * row_bytes(sizes.key)
    if form.storage == "column":
        heap += chunks * form.vectors.stored_bytes(form.dimensions)
    memory = [build_memory(one, chunks) for one in wanted_indexes(form)]
    return Variant(
        quantization,
        declared,
        heap_bytes=round(heap),
        index_bytes=ann_bytes(form, chunks),
        other_bytes=round(chunks * sizes.indexes),
        build_memory_bytes=max(memory, default=0),
    )
