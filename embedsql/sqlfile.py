"""Statements kept in ``.sql`` files, filled with quoted identifiers.

A file's slots (``{log}``, ``{key_columns}``) take ``psycopg.sql`` objects only, so nothing from
a user reaches a statement unquoted, and every statement can be read, reviewed and run in psql.
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Iterable
from typing import LiteralString, cast

from psycopg import sql

from embedsql.naming import SCHEMA


@functools.cache
def read(package: str, name: str) -> str:
    """The text of ``name`` in ``package``, as shipped."""
    return (importlib.resources.files(package) / name).read_text(encoding="utf-8")


def statement(package: str, name: str, /, **slots: sql.Composable) -> sql.Composed:
    """The file ``name`` of ``package`` with its slots filled."""
    return sql.SQL(cast(LiteralString, read(package, name))).format(**slots)


def text(statement: sql.Composable) -> str:
    """A statement as a string, without a connection."""
    return statement.as_string(None)


def kit(name: str) -> sql.Identifier:
    """The object ``name`` of the kit's schema."""
    return sql.Identifier(SCHEMA, name)


def raw(words: str) -> sql.SQL:
    """SQL text that we wrote or that the server's catalogue printed (a type's name, say)."""
    return sql.SQL(cast(LiteralString, words))


def comma(parts: Iterable[sql.Composable]) -> sql.Composed:
    """Parts with commas between."""
    return sql.SQL(", ").join(parts)


def conjunction(parts: Iterable[sql.Composable]) -> sql.Composed:
    """Parts with AND between."""
    return sql.SQL(" AND ").join(parts)
