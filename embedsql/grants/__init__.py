"""What a role needs that only works, or only searches; and nothing more.

The role that installs and adds owns everything. A *worker* role embeds, a *search* role searches.
The GRANTs stand in the ``.sql`` files of this folder. They are read twice: as statements, and as
the list of privileges that ``missing_grants`` compares with what a role holds, so that a worker
that lost one can name the statement that mends it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg import sql

from embedsql import sqlfile
from embedsql.errors import ConfigurationError
from embedsql.naming import MAX_BYTES, SCHEMA, ObjectNames
from embedsql.slots import Slots
from embedsql.spec import IndexSpec

Purpose = Literal["worker", "search"]

# the form of every statement of the files
_GRANT = re.compile(r"GRANT (?P<words>.+) ON (?P<kind>SCHEMA |FUNCTION |)(?P<on>\S+) TO \{role\};")
_WORD = re.compile(r"(?P<word>[A-Z]+)(?: \((?P<columns>[^)]*)\))?")

_HELD = {
    "SCHEMA ": """
SELECT pg_catalog.has_schema_privilege(%(role)s::name, n.oid, %(word)s)
FROM pg_catalog.pg_namespace AS n WHERE n.nspname = %(name)s
""",
    "FUNCTION ": """
SELECT pg_catalog.has_function_privilege(%(role)s::name, p.oid, %(word)s)
FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname = %(schema)s AND p.proname = %(name)s
""",
    "": """
SELECT CASE WHEN %(columns)s::text[] IS NULL
       THEN pg_catalog.has_table_privilege(%(role)s::name, c.oid, %(word)s)
       ELSE (SELECT bool_and(pg_catalog.has_column_privilege(
                 %(role)s::name, c.oid, a.attnum, %(word)s))
             FROM pg_catalog.pg_attribute AS a
             WHERE a.attrelid = c.oid AND a.attname = ANY (%(columns)s::text[])) END
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(name)s
""",
}


@dataclass(frozen=True)
class _Privilege:
    """One privilege on one object; without ``columns``, on the whole of it."""

    word: str
    kind: str
    name: tuple[str, ...]
    columns: tuple[str, ...] | None

    def grant_to(self, role: str) -> str:
        """The statement that grants this and nothing else."""
        columns = sqlfile.comma(sqlfile.identifier(name) for name in self.columns or ())
        return sqlfile.text(
            sql.SQL("GRANT {}{} ON {}{} TO {};").format(
                sqlfile.raw(self.word),
                sql.SQL(" ({})").format(columns) if self.columns else sql.SQL(""),
                sqlfile.raw(self.kind),
                sqlfile.identifier(*self.name),
                sqlfile.identifier(role),
            )
        )

    def is_missing(self, connection: psycopg.Connection, role: str) -> bool:
        """Whether ``role`` does not hold it; an object that is not there is another trouble."""
        values: dict[str, Any] = {
            "role": role,
            "word": self.word,
            "schema": self.name[0],
            "name": self.name[-1],
            "columns": None if self.columns is None else list(self.columns),
        }
        found = connection.execute(_HELD[self.kind].encode(), values).fetchone()
        return found is not None and found[0] is False


def grant_statements(
    spec: IndexSpec, role: str, purpose: Purpose, names: ObjectNames | None = None
) -> list[str]:
    """The GRANTs that let ``role`` work or search on one index.

    Args:
        spec: The declaration.
        role: The role's exact name, unquoted.
        purpose: ``worker`` or ``search``.
        names: The index's objects, where its generation is not the first.

    Raises:
        ConfigurationError: No role can be meant by this name.
    """
    _check_role(role)
    slots = Slots(spec, names)
    return [
        sqlfile.text(statement)
        for file in _files(spec, purpose)
        for statement in sqlfile.script(
            __name__,
            file,
            role=sqlfile.identifier(role),
            source_schema=sqlfile.identifier(spec.schema),
            key=sqlfile.comma(sqlfile.identifier(column.name) for column in spec.key),
            watched=sqlfile.comma(sqlfile.identifier(name) for name in spec.watched),
            vector_column=sqlfile.identifier(spec.vector_column),
            **{slot: sqlfile.identifier(*name) for slot, name in _objects(slots).items()},
        )
    ]


def policy_statements(spec: IndexSpec, names: ObjectNames | None = None) -> list[str]:
    """The row-level security of an index's chunks and change log, where its source has one.

    A search role may read these tables. The searches join the source, whose policies hold; with
    these statements they hold for whoever reads the tables alone.
    """
    slots = Slots(spec, names)
    return [
        sqlfile.text(statement)
        for table in (slots.names.chunk, slots.names.log)
        for statement in sqlfile.script(
            __name__,
            "policy.sql",
            table=sqlfile.kit(table),
            source=slots.source,
            # a policy allows its table no alias
            key_match=slots.key_match("s", table),
        )
    ]


def missing_grants(
    connection: psycopg.Connection,
    spec: IndexSpec,
    purpose: Purpose,
    names: ObjectNames | None = None,
    role: str | None = None,
) -> list[str]:
    """The GRANTs of what a role lacks, each of one privilege; none where it lacks nothing.

    Args:
        connection: In autocommit mode.
        spec: The declaration.
        purpose: ``worker`` or ``search``.
        names: See ``grant_statements``.
        role: ``None``: the connection's own.
    """
    if role is None:
        row = connection.execute("SELECT current_user::text").fetchone()
        assert row is not None
        role = str(row[0])
    return [
        privilege.grant_to(role)
        for privilege in _privileges(Slots(spec, names), purpose)
        if privilege.is_missing(connection, role)
    ]


def _privileges(slots: Slots, purpose: Purpose) -> Iterator[_Privilege]:
    """The privileges that a file's statements grant."""
    objects = _objects(slots)
    texts = [sqlfile.read(__name__, file) for file in _files(slots.spec, purpose)]
    for statement in itertools.chain.from_iterable(map(sqlfile.split, texts)):
        found = _GRANT.fullmatch(statement.splitlines()[-1])
        assert found is not None, statement
        on = found["on"]
        if on == "{source_schema}":
            name: tuple[str, ...] = (slots.spec.schema,)
        elif on.startswith("{"):
            name = objects[on.strip("{}")]
        else:
            name = tuple(on.split("."))
        for word in _WORD.finditer(found["words"]):
            yield _Privilege(word["word"], found["kind"], name, _columns(slots, word["columns"]))


def _files(spec: IndexSpec, purpose: Purpose) -> list[str]:
    column = [f"{purpose}_column.sql"] if spec.storage == "column" else []
    lexical = ["search_lexical.sql"] if purpose == "search" and spec.finds_pending else []
    terms = ["term_index.sql"] if spec.lexical_index == "hnsw" else []
    return [f"{purpose}.sql", *lexical, *terms, *column]


def _columns(slots: Slots, words: str | None) -> tuple[str, ...] | None:
    if words == "{vector_column}":
        return (slots.spec.vector_column,)
    if words == "{key}":
        return tuple(column.name for column in slots.spec.key)
    if words == "{watched}":
        return slots.spec.watched
    return None if words is None else tuple(words.split(", "))


def _objects(slots: Slots) -> dict[str, tuple[str, str]]:
    """Schema and name of what the slots of the files stand for."""
    names, spec = slots.names, slots.spec
    return {
        "source": (spec.schema, spec.table),
        "index_view": (spec.schema, spec.name),
        "serving_view": (SCHEMA, names.serving_view),
        "chunk_view": (SCHEMA, names.chunk_view),
        "log": (SCHEMA, names.log),
        "pending": (SCHEMA, names.pending),
        "batch": (SCHEMA, names.batch),
        "row": (SCHEMA, names.row),
        "chunk": (SCHEMA, names.chunk),
    }


def _check_role(role: str) -> None:
    if not role or "\0" in role or len(role.encode()) > MAX_BYTES:
        raise ConfigurationError(f"{role!r} is no role's name: it needs 1 to {MAX_BYTES} bytes")
    if role in ("public", "none"):  # reserved: even quoted, PostgreSQL reads the first as everybody
        raise ConfigurationError(
            f"{role!r} is no role: name one that only its own sessions use (CREATE ROLE … LOGIN)"
        )
