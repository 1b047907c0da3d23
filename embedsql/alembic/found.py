"""What a database holds of embedsql, asked over SQLAlchemy: any driver that Alembic runs on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.engine import Connection

from embedsql.alembic.running import execute
from embedsql.catalog import Ask, check_is_table
from embedsql.search import SearchTuning
from embedsql.spec import IndexSpec

_SOURCE = text("""
SELECT c.oid, c.relkind::text, c.relkind = 'p'
    OR EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = c.oid) AS partitioned
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = :schema AND c.relname = :table
""")

_COLUMNS = text("""
SELECT attname::text, pg_catalog.format_type(atttypid, NULL) AS type
FROM pg_catalog.pg_attribute WHERE attrelid = :oid AND attnum > 0 AND NOT attisdropped
ORDER BY attnum
""")

_VALID = text("""
SELECT i.indisvalid
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = :schema AND c.relname = :name
""")

# while a concurrent build runs, its index looks like the INVALID leftover of a failed one
_BUILDING = text("""
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_stat_progress_create_index AS p
    JOIN pg_catalog.pg_class AS c ON c.oid = p.index_relid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND c.relname = :name
)
""")


_REGISTERED = text("""
SELECT i.name, i.declaration::text, i.generation, (
    SELECT coalesce(json_agg(o.declaration::text ORDER BY o.generation), '[]')::text
    FROM embedsql.semantic_index AS o
    WHERE o.name = i.name AND o.state IN ('building', 'ready', 'switching')
)
FROM embedsql.semantic_index AS i WHERE i.state = 'serving' ORDER BY 1
""")


@dataclass(frozen=True)
class FoundSource:
    """A source table, as the catalogue has it."""

    oid: int
    partitioned: bool


@dataclass(frozen=True)
class FoundIndex:
    """An index of the registry.

    Attributes:
        spec: The declaration of the generation that serves.
        generation: Its number.
        next: Declarations of generations that are made beside it.
    """

    spec: IndexSpec
    generation: int
    next: tuple[IndexSpec, ...] = ()


def installed_version(bind: Connection) -> int:
    """The version of the kit's schema; 0 where there is none."""
    there = text("SELECT pg_catalog.to_regclass('embedsql.installation') IS NOT NULL")
    if not bind.execute(there).scalar():
        return 0
    return int(bind.execute(text("SELECT version FROM embedsql.installation")).scalar_one())


def registered_indexes(bind: Connection) -> dict[str, FoundIndex]:
    """The registered indexes, by name."""
    return {
        name: FoundIndex(_spec(serving), generation, tuple(map(_spec, json.loads(others))))
        for name, serving, generation, others in bind.execute(_REGISTERED)
    }


def registered_generation(bind: Connection, name: str) -> int | None:
    """Which build of an index's tables serves; ``None`` where there is no such index."""
    found = text(
        "SELECT generation FROM embedsql.semantic_index WHERE name = :name AND state = 'serving'"
    )
    generation: int | None = bind.execute(found, {"name": name}).scalar()
    return generation


def generations(bind: Connection, name: str) -> Sequence[int]:
    """The numbers of all builds of an index's tables."""
    found = text("SELECT generation FROM embedsql.semantic_index WHERE name = :name ORDER BY 1")
    return bind.execute(found, {"name": name}).scalars().all()


def registered_tuning(bind: Connection, name: str, generation: int) -> SearchTuning:
    """The query-time settings that are kept for a generation; the defaults where none are."""
    found = text(
        "SELECT tuning::text FROM embedsql.semantic_index "
        "WHERE name = :name AND generation = :generation"
    )
    kept = bind.execute(found, {"name": name, "generation": generation}).scalar()
    return SearchTuning.kept(json.loads(kept or "{}"))


def registered_spec(bind: Connection, name: str, generation: int) -> IndexSpec | None:
    """What a generation was declared as; ``None`` where there is none of this number."""
    found = text(
        "SELECT declaration::text FROM embedsql.semantic_index "
        "WHERE name = :name AND generation = :generation"
    )
    declaration = bind.execute(found, {"name": name, "generation": generation}).scalar()
    return None if declaration is None else _spec(declaration)


def find_source(bind: Connection, schema: str, table: str) -> FoundSource | None:
    """A table by its name; ``None`` where there is none.

    Raises:
        DeclarationError: It is a view, a foreign table or the like.
    """
    row = bind.execute(_SOURCE, {"schema": schema, "table": table}).one_or_none()
    if row is None:
        return None
    check_is_table(table, row.relkind)
    return FoundSource(row.oid, row.partitioned)


def source_columns(bind: Connection, source: FoundSource) -> dict[str, str]:
    """A table's columns, with their SQL types."""
    rows = bind.execute(_COLUMNS, {"oid": source.oid})
    return {row.attname: row.type for row in rows}


def asks(bind: Connection) -> Ask:
    """A connection's answers to plain statements."""
    return lambda statement: execute(bind, statement).fetchall()


def is_valid_index(bind: Connection, schema: str, name: str) -> bool | None:
    """Whether an index is whole; ``None`` where there is none."""
    valid: bool | None = bind.execute(_VALID, {"schema": schema, "name": name}).scalar()
    return valid


def is_being_built(bind: Connection, schema: str, name: str) -> bool:
    """Whether somebody is building this index at the moment."""
    return bool(bind.execute(_BUILDING, {"schema": schema, "name": name}).scalar())


def same_type(bind: Connection, one: str, other: str) -> bool:
    """Whether two spellings mean one SQL type, lengths aside."""
    same = text("SELECT pg_catalog.to_regtype(:one) = pg_catalog.to_regtype(:other)")
    return bool(bind.execute(same, {"one": one, "other": other}).scalar())


def _spec(declaration: str) -> IndexSpec:
    return IndexSpec.from_json(json.loads(declaration))
