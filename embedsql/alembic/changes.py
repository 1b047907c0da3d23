"""What a change of a declaration costs: an index, a trigger, or every vector."""

from __future__ import annotations

import re

from embedsql import ddl
from embedsql.alembic.literals import changed_fields
from embedsql.spec import IndexSpec

# Fields of a declaration, by what a change of them costs.
# The approximate index on the lexical weights is built again:
TERM_FIELDS = frozenset({"lexical_index", "hnsw"})
# The approximate indexes are built again. The rows are embedded again only where the columns that
# store their vectors change, too; ``needs_new_vectors`` compares those:
BUILD_FIELDS = TERM_FIELDS | {
    *("index", "ivfflat", "index_dimensions", "quantization", "stored", "metric")
}
# Triggers are replaced, or the registry's row is all that changes; no vector depends on these:
IN_PLACE_FIELDS = frozenset({"notify", "replicated", "base_url"})
# The index is dropped before the source table changes, and created again after that:
SOURCE_FIELDS = frozenset({"name", "schema", "table", "key", "text", "lexical_column"})

_LEADING_COMMENTS = r"\A(?:\s*--[^\n]*\n)*\s*"


def needs_new_vectors(before: IndexSpec, after: IndexSpec) -> bool:
    """Whether the rows must be embedded again for a declaration to become another."""
    if not changed_fields(before, after).keys() <= BUILD_FIELDS | IN_PLACE_FIELDS:
        return True
    return _tables(before) != _tables(after)


def rebuilds_vector_index(before: IndexSpec, after: IndexSpec) -> bool:
    """Whether an approximate index is another."""
    return bool(changed_fields(before, after).keys() & BUILD_FIELDS)


def starts_with(statement: str, words: str) -> bool:
    """Whether a statement, its comments aside, begins with ``words``, a regular expression."""
    return re.match(_LEADING_COMMENTS + words, statement) is not None


def replacing(statement: str) -> str | None:
    """A creating statement as one that also replaces what is there; ``None`` for other ones."""
    if starts_with(statement, r"CREATE (FUNCTION|TRIGGER|VIEW)\b"):
        return re.sub(_LEADING_COMMENTS + "CREATE", "CREATE OR REPLACE", statement, count=1)
    if starts_with(statement, r"CREATE (UNIQUE )?INDEX\b"):
        return statement.replace(" INDEX ", " INDEX IF NOT EXISTS ", 1)
    if starts_with(statement, r"(CREATE OR REPLACE|DO|REVOKE|COMMENT ON (VIEW|FUNCTION))\b"):
        return statement
    return statement if starts_with(statement, r"ALTER TABLE .* TRIGGER\b") else None


def _tables(spec: IndexSpec) -> list[str]:
    return [
        statement
        for statement in ddl.create_statements(spec)
        if starts_with(statement, r"(CREATE TABLE|DO)\b")
    ]
