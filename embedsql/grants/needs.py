"""What a purpose needs, as a list of privileges; and whether a role holds them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from psycopg import sql

from embedsql import sqlfile
from embedsql.naming import SCHEMA
from embedsql.slots import Slots
from embedsql.spec import IndexSpec

Purpose = Literal["worker", "search"]

# the form that every GRANT in the files has
_GRANT = re.compile(r"GRANT (?P<words>.+) ON (?P<kind>SCHEMA |FUNCTION |)(?P<on>\S+) TO \{role\};")
_WORD = re.compile(r"(?P<word>[A-Z]+)(?: \((?P<columns>[^)]*)\))?")


@dataclass(frozen=True)
class Privilege:
    """One privilege on one object; without ``columns``, on the whole of it."""

    purpose: Purpose
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

    @property
    def values(self) -> sql.Composed:
        """As values of SQL, see ``rows``."""
        name = sqlfile.quoted(*self.name)
        words = map(sqlfile.literal, (self.purpose, self.word, self.kind, name))
        columns = sqlfile.comma(map(sqlfile.literal, self.columns or ()))
        array = "NULL::text[]" if self.columns is None else "ARRAY[{}]::text[]"
        return sqlfile.comma([*words, sql.SQL(array).format(columns)])


def rows(privileges: Iterable[Privilege]) -> sql.Composed:
    """Privileges as rows of VALUES: place, purpose, word, kind, name, columns."""
    return sqlfile.comma(
        sql.SQL("\n    ({}, {})").format(sqlfile.literal(place), each.values)
        for place, each in enumerate(privileges)
    )


def held(role: sql.Composable) -> sql.Composed:
    """Whether a role holds a privilege ``p``, one of ``rows``.

    NULL where the object is not there: that is another trouble.

    Args:
        role: An expression, its name.
    """
    return sqlfile.statement(__package__, "held.sql", role=role)


def privileges(slots: Slots, purpose: Purpose) -> Iterator[Privilege]:
    """The privileges that a file's statements grant."""
    objects = objects_of(slots)
    texts = [sqlfile.read(__package__, file) for file in files(slots.spec, purpose)]
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
            columns = _columns(slots, word["columns"])
            yield Privilege(purpose, word["word"], found["kind"], name, columns)


def files(spec: IndexSpec, purpose: Purpose) -> list[str]:
    """The files whose statements grant what a purpose needs."""
    column = [f"{purpose}_column.sql"] if spec.storage == "column" else []
    lexical = ["search_lexical.sql"] if purpose == "search" and spec.finds_pending else []
    terms = ["term_index.sql"] if spec.lexical_index == "hnsw" else []
    return [f"{purpose}.sql", *lexical, *terms, *column]


def objects_of(slots: Slots) -> dict[str, tuple[str, str]]:
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


def _columns(slots: Slots, words: str | None) -> tuple[str, ...] | None:
    if words == "{vector_column}":
        return (slots.spec.vector_column,)
    if words == "{key}":
        return tuple(column.name for column in slots.spec.key)
    if words == "{watched}":
        return slots.spec.watched
    return None if words is None else tuple(words.split(", "))
