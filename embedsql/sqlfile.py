"""Statements kept in ``.sql`` files, filled with quoted identifiers.

A file's slots (``{log}``, ``{key_columns}``) take ``psycopg.sql`` objects only, so nothing from
a user reaches a statement unquoted, and every statement can be read, reviewed and run in psql.

Composed statements are in the driver's form for statements with parameters, in which a percent
sign is written twice: execute them with parameters, if only ``{}``. ``text`` gives the plain form.
"""

from __future__ import annotations

import functools
import importlib.resources
import re
from collections.abc import Iterable

from psycopg import sql

from embedsql.naming import SCHEMA


@functools.cache
def read(package: str, name: str) -> str:
    """The text of ``name`` in ``package``, as shipped."""
    return (importlib.resources.files(package) / name).read_text(encoding="utf-8")


def statement(package: str, name: str, /, **slots: sql.Composable) -> sql.Composed:
    """The file ``name`` of ``package`` with its slots filled."""
    return sql.SQL(read(package, name)).format(**slots)


def script(package: str, name: str, /, **slots: sql.Composable) -> list[sql.Composed]:
    """The statements of the file ``name`` of ``package``, each with its slots filled."""
    return [sql.SQL(part).format(**slots) for part in split(read(package, name))]


def split(script: str) -> list[str]:
    """The statements of a file of ours; what fills its slots is never split.

    Each ends with a line that ends in a semicolon, outside a body: between dollar tags, or from
    ``BEGIN ATOMIC`` to ``END;``.
    """
    statements, lines, tag, atomic = [], [], "", False
    for line in script.splitlines():
        atomic = atomic or line == "BEGIN ATOMIC"
        for found in re.findall(r"\$\w*\$", line):
            if not tag:
                tag = found
            elif tag == found:
                tag = ""
        lines.append(line)
        if atomic and line == "END;":
            atomic = False
        if not tag and not atomic and line.endswith(";"):
            statements.append("\n".join(lines).strip())
            lines = []
    return statements


def text(statement: sql.Composable) -> str:
    """A statement as a plain string, to print or to execute without parameters."""
    return statement.as_string(None).replace("%%", "%")


def identifier(*names: str) -> sql.Identifier:
    """A quoted, possibly qualified name."""
    return sql.Identifier(*(name.replace("%", "%%") for name in names))


def quoted(*names: str) -> str:
    """``identifier`` as plain SQL text."""
    return text(identifier(*names))


def literal(value: str | int | None) -> sql.Literal:
    """A quoted value."""
    return sql.Literal(value.replace("%", "%%") if isinstance(value, str) else value)


def kit(name: str) -> sql.Identifier:
    """The object ``name`` of the kit's schema."""
    return identifier(SCHEMA, name)


def raw(words: str) -> sql.SQL:
    """SQL text that we wrote or that the server's catalogue printed (a type's name, say)."""
    return sql.SQL(words.replace("%", "%%"))


def comma(parts: Iterable[sql.Composable]) -> sql.Composed:
    """Parts with commas between."""
    return sql.SQL(", ").join(parts)


def conjunction(parts: Iterable[sql.Composable]) -> sql.Composed:
    """Parts with AND between."""
    return sql.SQL(" AND ").join(parts)
