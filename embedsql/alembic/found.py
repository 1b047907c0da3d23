"""What a database holds of embedsql, asked over SQLAlchemy: any driver that Alembic runs on."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.engine import Connection

from embedsql.catalog import check_is_table
from embedsql.spec import IndexSpec

_SOURCE = text("""
SELECT c.oid, c.relkind::text, c.relkind = 'p'
    OR EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = c.oid) AS partitioned
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = :schema AND c.relname = :table
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


@dataclass(frozen=True)
class FoundSource:
    """A source table, as the catalogue has it."""

    oid: int
    partitioned: bool


@dataclass(frozen=True)
class FoundIndex:
    """A row of the registry."""

    spec: IndexSpec
    generation: int


def installed_version(bind: Connection) -> int:
    """The version of the kit's schema; 0 where there is none."""
    there = text("SELECT pg_catalog.to_regclass('embedsql.installation') IS NOT NULL")
    if not bind.execute(there).scalar():
        return 0
    return int(bind.execute(text("SELECT version FROM embedsql.installation")).scalar_one())


def registered_indexes(bind: Connection) -> dict[str, FoundIndex]:
    """The registered indexes, by name."""
    rows = bind.execute(
        text("SELECT name, declaration::text, generation FROM embedsql.semantic_index ORDER BY 1")
    )
    return {
        name: FoundIndex(IndexSpec.from_json(json.loads(declaration)), generation)
        for name, declaration, generation in rows
    }


def registered_generation(bind: Connection, name: str) -> int | None:
    """Which build of an index's tables serves; ``None`` where there is no such index."""
    found = text("SELECT generation FROM embedsql.semantic_index WHERE name = :name")
    generation: int | None = bind.execute(found, {"name": name}).scalar()
    return generation


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
