"""A declaration as the arguments of an operation, and as the Python that a revision holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from embedsql.key import KeyColumn
from embedsql.spec import IndexSpec

_POSITIONAL = ("name", "table")
_ALWAYS = ("key", "text", "model", "dimensions")  # written even where they equal the default


def spec_of(
    name: str,
    table: str,
    key: Mapping[str, str],
    text: Sequence[str],
    dimensions: int,
    options: Mapping[str, Any],
) -> IndexSpec:
    """The declaration that an operation's arguments stand for.

    Raises:
        DeclarationError: It cannot be.
    """
    columns = tuple(KeyColumn(column, sql_type) for column, sql_type in key.items())
    return IndexSpec(
        name=name, table=table, key=columns, text=tuple(text), dimensions=dimensions, **options
    )


def arguments_of(spec: IndexSpec) -> dict[str, Any]:
    """The inverse of ``spec_of``, defaults left out; ``name`` and ``table`` are not among them."""
    found = {name: _argument(getattr(spec, name)) for name in _ALWAYS}
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        if field.name not in (*_POSITIONAL, *_ALWAYS) and value != _default(field):
            found[field.name] = value
    return found


def changed_fields(before: IndexSpec, after: IndexSpec) -> dict[str, Any]:
    """The fields in which two declarations differ, with what they were before."""
    return {
        field.name: getattr(before, field.name)
        for field in dataclasses.fields(IndexSpec)
        if getattr(before, field.name) != getattr(after, field.name)
    }


def literal(value: Any, imports: set[str]) -> str:
    """A value as Python.

    Args:
        value: Of a field of ``IndexSpec``.
        imports: Gets the imports that the text needs.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        name = type(value).__name__
        imports.add(f"from embedsql import {name}")
        said = [
            f"{field.name}={literal(getattr(value, field.name), imports)}"
            for field in dataclasses.fields(value)
            if getattr(value, field.name) != _default(field)
        ]
        return f"{name}({', '.join(said)})"
    if isinstance(value, dict):
        pairs = (f"{key!r}: {literal(said, imports)}" for key, said in value.items())
        return "{" + ", ".join(pairs) + "}"
    return repr(value)


def _argument(value: Any) -> Any:
    """A tuple as a list, which reads better; the key as a dictionary."""
    if not isinstance(value, tuple):
        return value
    if all(isinstance(part, KeyColumn) for part in value):
        return {column.name: column.type for column in value}
    return list(value)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
