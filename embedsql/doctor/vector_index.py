"""Findings about approximate indexes: missing, unusable, not as declared, too big, too coarse."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from embedsql import ddl, sqlfile
from embedsql.build_memory import build_memory
from embedsql.ddl import ApproximateIndex
from embedsql.doctor.finding import Finding, Limits, command, megabytes, setting
from embedsql.registry import RegisteredIndex
from embedsql.vector_index import count_vectors
from embedsql.vectors import Hnsw

FEW_VECTORS = 1000  # among fewer, an exact search is as good
MOST_UNFIT = 4.0  # so many times too few or too many lists

_FOUND = """
SELECT a.amname::text AS method, i.indisvalid AS valid, o.opcname::text AS operator_class,
       pg_get_indexdef(c.oid, 1, true) AS expression,
       coalesce(c.reloptions, '{}') AS options, pg_relation_size(c.oid) AS size,
       EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index AS p
               WHERE p.index_relid = c.oid) AS building
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_am AS a ON a.oid = c.relam
JOIN pg_catalog.pg_opclass AS o ON o.oid = i.indclass[0]
WHERE c.oid = to_regclass(%s)
"""

_MEMORY = """
SELECT pg_size_bytes(current_setting('maintenance_work_mem')),
       pg_size_bytes(current_setting('shared_buffers')),
       pg_size_bytes(current_setting('effective_cache_size')),
       current_user::text, current_database()::text
"""


@dataclass(frozen=True)
class _Found:
    """The index as the catalogue describes it."""

    method: str
    valid: bool
    operator_class: str
    expression: str
    options: list[str]
    size: int
    building: bool

    @property
    def numbers(self) -> dict[str, int]:
        """Its build-time options."""
        pairs = (option.partition("=") for option in self.options)
        return {name: int(value) for name, _, value in pairs if value.isdigit()}


def examine_vector_indexes(
    connection: psycopg.Connection, index: RegisteredIndex, limits: Limits
) -> Iterator[Finding]:
    """Whether searches get the approximate indexes that were declared, and in memory."""
    wanted = ddl.wanted_indexes(index.spec, index.names)
    rows = count_vectors(connection, index) if wanted else 0
    for one in wanted:
        yield from _examine(connection, index, one, rows)


def _examine(
    connection: psycopg.Connection, index: RegisteredIndex, one: ApproximateIndex, rows: int
) -> Iterator[Finding]:
    name = one.called(one.name)
    cursor = connection.cursor(row_factory=class_row(_Found))
    found = cursor.execute(_FOUND, [sqlfile.text(name)]).fetchone()
    if found is not None and found.building:
        return
    if found is None and rows and not index.backfilling:
        yield _missing(one, rows)
    if found is not None:
        if not found.valid:
            yield _invalid(one, rows, name)
        yield from _declared_otherwise(one, found)
        yield from _unfit_lists(index, found, rows)
        yield from _memory(connection, one, found)
    yield from _build_memory(connection, one, rows)


def _missing(one: ApproximateIndex, rows: int) -> Finding:
    small = rows < FEW_VECTORS
    costs = f"every search reads all {rows} vectors"
    if one.of == "terms":
        costs = "a search for common words reads every passage that has one"
        if one.spec.sparse_model is not None:
            costs = "every lexical search reads all passages"
    return Finding(
        "note" if small else "warning",
        f"the {one.method} index on the {one.of} is not there: {costs} (a worker of the tables' "
        "owner builds it)",
        _create(one, rows),
        one.spec.name,
    )


def _invalid(one: ApproximateIndex, rows: int, name: sql.Identifier) -> Finding:
    drop = sqlfile.text(sql.SQL("DROP INDEX CONCURRENTLY {};").format(name))
    return Finding(
        "warning",
        f"the {one.method} index on the {one.of} is INVALID, left by a build that failed: searches "
        "do not use it, but writes pay for it",
        f"{drop}\n{_create(one, rows)}",
        one.spec.name,
    )


def _declared_otherwise(one: ApproximateIndex, found: _Found) -> Iterator[Finding]:
    spec = one.spec
    expected: dict[str, object] = {
        "method": one.method,
        "operator class": one.operator_class,
        "expression": _bare(sqlfile.text(one.expression)),
    }
    there: dict[str, object] = {
        "method": found.method,
        "operator class": found.operator_class,
        "expression": _bare(found.expression),
    }
    if one.method == "hnsw":
        built, usual = found.numbers, Hnsw()
        expected |= {"m": spec.hnsw.m, "ef_construction": spec.hnsw.ef_construction}
        there |= {
            "m": built.get("m", usual.m),
            "ef_construction": built.get("ef_construction", usual.ef_construction),
        }
    elif spec.ivfflat.lists is not None:
        expected["lists"] = spec.ivfflat.lists
        there["lists"] = found.numbers.get("lists", 100)
    wrong = [what for what in expected if expected[what] != there[what]]
    if wrong:
        usable = set(wrong) <= {"m", "ef_construction", "lists"}
        listed = ", ".join(f"{what} {there[what]} instead of {expected[what]}" for what in wrong)
        yield Finding(
            "warning",
            f"the approximate index on the {one.of} is not as declared: {listed}"
            + ("" if usable else "; searches cannot use it"),
            command("reindex", spec.name),
            spec.name,
        )


def _unfit_lists(index: RegisteredIndex, found: _Found, rows: int) -> Iterator[Finding]:
    if found.method != "ivfflat" or index.spec.index != "ivfflat" or rows < FEW_VECTORS:
        return
    lists, fit = found.numbers.get("lists", 100), fit_lists(rows)
    if 1 / MOST_UNFIT <= lists / fit <= MOST_UNFIT:
        return
    mend = command("reindex", index.spec.name)
    if index.spec.ivfflat.lists is not None:  # else the same number would be taken again
        name = sqlfile.literal(index.spec.name)
        forget = sqlfile.text(
            sql.SQL(
                "UPDATE embedsql.semantic_index SET declaration = jsonb_set(declaration, "
                "'{{ivfflat,lists}}', 'null') WHERE name = {};"
            ).format(name)
        )
        mend = f"{forget}\n{mend}"
    yield Finding(
        "warning",
        f"the IVFFlat index has {lists} lists for {rows} vectors, and about {fit} would fit: "
        + ("each search reads too many vectors" if lists < fit else "near vectors are missed"),
        mend,
        index.spec.name,
    )


def _memory(
    connection: psycopg.Connection, one: ApproximateIndex, found: _Found
) -> Iterator[Finding]:
    row = connection.execute(_MEMORY).fetchone()
    assert row is not None
    _, shared, cache, _, _ = row
    if found.size <= shared:
        return
    beyond = found.size > cache
    room = math.ceil(found.size * 1.25 / 2**20)
    yield Finding(
        "warning" if beyond else "note",
        f"the approximate index on the {one.of} is {megabytes(found.size)}, and shared_buffers "
        f"{megabytes(shared)}"
        + (
            f", effective_cache_size {megabytes(cache)}: searches wait for the disk"
            if beyond
            else ""
        )
        + "; more memory (and a restart), or a smaller form (embedsql plan compares them)",
        f"ALTER SYSTEM SET shared_buffers = '{room}MB';",
        one.spec.name,
    )


def _build_memory(
    connection: psycopg.Connection, one: ApproximateIndex, rows: int
) -> Iterator[Finding]:
    row = connection.execute(_MEMORY).fetchone()
    assert row is not None
    given, shared, _, role, database = row
    needed = build_memory(one, rows)
    # a build takes for itself what shared_buffers is a sign of
    if needed <= max(given, shared):
        return
    yield Finding(
        "note",
        f"an approximate index of {rows} vectors is built in {megabytes(needed)}, and "
        f"maintenance_work_mem is {megabytes(given)}: the next build is several times slower",
        setting(
            "maintenance_work_mem",
            f"'{math.ceil(needed / 2**20)}MB'",
            role=role,
            database=database,
        ),
        one.spec.name,
    )


def fit_lists(rows: int) -> int:
    """How many lists an IVFFlat index should have, as pgvector's authors advise."""
    return max(1, rows // 1000) if rows <= 1_000_000 else math.isqrt(rows)


def _create(one: ApproximateIndex, rows: int) -> str:
    return " ".join((one.create(lists=fit_lists(rows)) or "").split())


def _bare(expression: str) -> str:
    """An expression without what PostgreSQL adds when it prints it: brackets, quotes, schemas."""
    return re.sub(r'\w+\.|[\s()"]', "", expression)
