"""What chunks take on disk, measured: a sample is written to temporary tables of the real form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from embedsql import ddl, sqlfile
from embedsql.installation import installed_version
from embedsql.naming import quoted
from embedsql.plan.sample import Sample, SampledChunk
from embedsql.slots import Slots
from embedsql.spec import IndexSpec
from embedsql.vector_slots import VectorSlots

ENOUGH = 1000  # chunks, of which the last page of a table is a small share
TRIAL = ("pg_temp", "embedsql_trial")

_SIZES = """
SELECT (pg_relation_size(c.oid) + coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0))
           ::float8 / %(chunks)s,
       pg_indexes_size(c.oid)::float8 / %(chunks)s,
       (SELECT avg({key_size}) FROM {chunk})::float8
FROM pg_catalog.pg_class AS c WHERE c.oid = to_regclass(%(table)s)
"""


@dataclass(frozen=True)
class TrialSizes:
    """Bytes for each chunk: of its table, and of that table's indexes but the approximate one.

    ``key`` is the size of a key.
    """

    table: float = 0.0
    indexes: float = 0.0
    key: float = 0.0


def measure(connection: psycopg.Connection, spec: IndexSpec, sample: Sample) -> TrialSizes:
    """Write the sample's chunks as the index would, look, and roll back.

    Args:
        connection: In autocommit mode, of a role that may make temporary tables.
        spec: The declaration; its quantization decides on the columns.
        sample: Of the source.
    """
    if not sample.chunks:
        return TrialSizes()
    times = -(-ENOUGH // len(sample.chunks))
    table = sqlfile.identifier(*TRIAL)
    with connection.transaction(force_rollback=True):
        for statement in ddl.chunk_statements(spec, table):
            connection.execute(statement.encode())
        insert = _insert(spec, table, installed=installed_version(connection) > 0)
        connection.execute(insert, {**_values(spec, sample.chunks), "times": times})
        key_size = sql.SQL(" + ").join(
            sql.SQL("pg_column_size({})").format(sqlfile.identifier(name))
            for name in Slots(spec).own_key
        )
        row = connection.execute(
            sql.SQL(_SIZES).format(key_size=key_size, chunk=table),
            {"chunks": times * len(sample.chunks), "table": ".".join(TRIAL)},
        ).fetchone()
    assert row is not None
    return TrialSizes(*row)


def _insert(spec: IndexSpec, table: sql.Identifier, *, installed: bool) -> sql.Composed:
    slots = Slots(spec)
    columns, values = _vector(spec)
    texts = [f"text_{name}" for name in slots.own_key]
    return sqlfile.statement(
        __package__,
        "trial.sql",
        chunk=table,
        key_columns=slots.key_columns,
        key_values=sqlfile.comma(
            sql.SQL("k.{}::{}").format(sqlfile.identifier(text), sqlfile.raw(column.type))
            for text, column in zip(texts, spec.key, strict=True)
        ),
        key_texts=sqlfile.comma(sqlfile.identifier(text) for text in texts),
        key_arrays=sqlfile.comma(
            sql.SQL("{}::text[]").format(sql.Placeholder(name)) for name in slots.own_key
        ),
        lexemes=_lexemes(spec, installed=installed),
        vector_columns=sqlfile.raw(columns),
        vector_values=sqlfile.raw(values),
    )


def _lexemes(spec: IndexSpec, *, installed: bool) -> sql.Composed:
    """Of a chunk; without those of identifiers where the function that knows them is missing."""
    if spec.lexical is None:
        return sql.Composed([sql.SQL("NULL::tsvector")])
    called = (
        "embedsql.chunk_lexemes({}::regconfig, k.heading, k.chunk, 0)"
        if installed
        else "to_tsvector({}::regconfig, concat_ws(' ', k.heading, k.chunk))"
    )
    return sql.SQL(called).format(sqlfile.literal(quoted(spec.lexical)))


def _vector(spec: IndexSpec) -> tuple[str, str]:
    """The columns of a vector and what fills them; random, so that nothing compresses them."""
    if VectorSlots(Slots(spec)).in_source:
        return "", ""
    series = f"FROM generate_series(1, {spec.dimensions})"
    if spec.vectors.has_codes:
        seen = spec.index_dimensions or spec.dimensions
        codes = f'(SELECT array_agg((random() * 254 - 127)::int) {series})::"char"[]'
        return ", codes, scale, bits", f", {codes}, 0.01, repeat('1', {seen})::bit({seen})"
    made = f"(SELECT array_agg((random() - 0.5)::real) {series})::{spec.vector_type}"
    return ", embedding", f", {made}"


def _values(spec: IndexSpec, chunks: Sequence[SampledChunk]) -> dict[str, Any]:
    keys = {
        name: [one.key[place] for one in chunks] for place, name in enumerate(Slots(spec).own_key)
    }
    return {
        "chunks": [one.chunk.text for one in chunks],
        "headings": [one.chunk.heading for one in chunks],
        **keys,
    }
