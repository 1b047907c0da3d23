"""The registry ``embedsql.semantic_index``: which indexes there are, and how each is declared."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from embedsql.database import storable
from embedsql.errors import DeclarationError, IndexNotFoundError
from embedsql.naming import ObjectNames
from embedsql.spec import IndexSpec


@dataclass(frozen=True)
class RegisteredIndex:
    """One row of the registry: one generation of an index.

    Attributes:
        index_id: Its number.
        spec: Its declaration.
        space: Label of the space of its vectors; ``None``: there are none yet.
        generation: Which build of its tables, from 1.
        state: ``serving``; of a model change ``building``, ``ready``, ``switching``, ``retired``
            (kept for a rollback) or ``dropping``.
        backfilling: Whether rows that no log row speaks of are looked for.
        problem: Why workers leave it alone, or what they wait for.
    """

    index_id: int
    spec: IndexSpec
    space: str | None
    generation: int
    state: str
    backfilling: bool
    problem: str | None

    @property
    def names(self) -> ObjectNames:
        """The names of its database objects."""
        return ObjectNames(self.spec.name, self.generation)

    @property
    def serving(self) -> bool:
        """Whether searches read it."""
        return self.state == "serving"

    @property
    def aside(self) -> bool:
        """Whether its work stands back behind that of indexes that serve."""
        return self.state not in ("serving", "switching")

    @property
    def label(self) -> str:
        """What it is called in reports and logs; the index's name where it serves."""
        return _label(self.spec.name, self.generation, self.state)


@dataclass(frozen=True)
class UnreadableIndex:
    """A row of the registry that this release cannot read: another release, or a person, wrote it.

    Attributes:
        index_id: Its number.
        label: See ``RegisteredIndex.label``.
        problem: What is wrong with its declaration, and what to do.
    """

    index_id: int
    label: str
    problem: str


def _label(name: str, generation: int, state: str) -> str:
    return name if state == "serving" else f"{name} generation {generation}"


_SELECT: LiteralString = """
SELECT index_id, name, declaration::text, space, generation, state, problem,
       backfill_since IS NOT NULL OR EXISTS (
           SELECT FROM embedsql.bulk_insert AS b
           WHERE (b.name, b.generation) = (i.name, i.generation)
       ) AS backfilling
FROM embedsql.semantic_index AS i
"""

# One that is about to be switched to comes first: workers bring it up to date before all others.
_KEPT = """WHERE state <> 'dropping'
ORDER BY CASE state WHEN 'switching' THEN 0 WHEN 'serving' THEN 1 ELSE 2 END, name, generation
"""


def all_indexes(connection: psycopg.Connection) -> Sequence[RegisteredIndex]:
    """Every generation of every index that is kept up to date, those that serve first, by name.

    Those whose declarations cannot be read are left out: one must not stop the others
    (``unreadable_indexes``).
    """
    loaded = _load_kept(connection)
    return [one for one in loaded if isinstance(one, RegisteredIndex)]


def unreadable_indexes(connection: psycopg.Connection) -> Sequence[UnreadableIndex]:
    """Those that ``all_indexes`` leaves out."""
    return [one for one in _load_kept(connection) if isinstance(one, UnreadableIndex)]


def find_generations(connection: psycopg.Connection, name: str) -> Sequence[RegisteredIndex]:
    """All generations of the index called ``name``, those to be dropped included, by number.

    Raises:
        IndexNotFoundError: With the names there are.
        DeclarationError: Its declaration cannot be read.
    """
    find_index(connection, name)
    rows = _select(connection, "WHERE name = %s ORDER BY generation", [name])
    return [_load(row) for row in rows]


def find_index(connection: psycopg.Connection, name: str) -> RegisteredIndex:
    """The generation of the index called ``name`` that serves.

    Raises:
        IndexNotFoundError: With the names there are.
        DeclarationError: Its declaration cannot be read.
    """
    for row in _select(connection, "WHERE name = %s AND state = 'serving'", [name]):
        return _load(row)
    known = connection.execute(
        "SELECT coalesce(string_agg(name, ', ' ORDER BY name), 'none') "
        "FROM embedsql.semantic_index WHERE state = 'serving'"
    ).fetchone()
    raise IndexNotFoundError(
        f"there is no semantic index {name!r}; there are: {known[0] if known else 'none'}"
    )


def find_of_space(
    connection: psycopg.Connection, index: RegisteredIndex, space: str
) -> RegisteredIndex | None:
    """Another generation of an index that is kept up to date and whose vectors are of a space."""
    rows = _select(
        connection,
        "WHERE name = %s AND index_id <> %s AND space = %s AND state <> 'dropping' "
        "ORDER BY state = 'serving' DESC LIMIT 1",
        [index.spec.name, index.index_id, space],
    )
    return _load(rows[0]) if rows else None


def is_registered(connection: psycopg.Connection, name: str) -> bool:
    """Whether there is an index of this name."""
    found = connection.execute(
        "SELECT EXISTS (SELECT FROM embedsql.semantic_index WHERE name = %s)", [name]
    ).fetchone()
    return found is not None and bool(found[0])


def adopt_space(connection: psycopg.Connection, index_id: int, space: str) -> str | None:
    """Record the space of an index's vectors, unless one is recorded.

    Returns:
        The space that stands there now. ``None``: none, and a migration holds the index's row.
    """
    connection.execute(
        "UPDATE embedsql.semantic_index SET space = %s WHERE index_id = ("
        "SELECT index_id FROM embedsql.semantic_index WHERE index_id = %s AND space IS NULL "
        "FOR NO KEY UPDATE SKIP LOCKED)",
        [space, index_id],
    )
    asked = "SELECT space FROM embedsql.semantic_index WHERE index_id = %s"
    row = connection.execute(asked, [index_id]).fetchone()
    return space if row is None else row[0]


def set_state(
    connection: psycopg.Connection, index_id: int, state: str, *, only_from: str | None = None
) -> None:
    """Record how far a generation is; see ``RegisteredIndex.state``.

    Args:
        connection: In autocommit mode.
        index_id: The generation.
        state: What it is from now on.
        only_from: Leave it as it is in any other state than this.
    """
    connection.execute(
        "UPDATE embedsql.semantic_index SET state = %(state)s "
        "WHERE index_id = %(index)s AND state = coalesce(%(only_from)s::text, state)",
        {"state": state, "index": index_id, "only_from": only_from},
    )


def is_kept(connection: psycopg.Connection, index_id: int) -> bool:
    """Whether a generation is still there and not to be dropped."""
    found = connection.execute(
        "SELECT FROM embedsql.semantic_index WHERE index_id = %s AND state <> 'dropping'",
        [index_id],
    )
    return found.rowcount > 0


def set_problem(connection: psycopg.Connection, index_id: int, problem: str | None) -> None:
    """Say why an index is left alone, or that it is not; not where a migration holds its row."""
    with contextlib.suppress(psycopg.errors.LockNotAvailable), connection.transaction():
        connection.execute("SELECT set_config('lock_timeout', '500ms', true)")
        connection.execute(
            "UPDATE embedsql.semantic_index SET problem = %(problem)s "
            "WHERE index_id = %(index)s AND problem IS DISTINCT FROM %(problem)s",
            {"problem": problem and storable(connection, problem), "index": index_id},
        )


def _load_kept(connection: psycopg.Connection) -> list[RegisteredIndex | UnreadableIndex]:
    loaded: list[RegisteredIndex | UnreadableIndex] = []
    for row in _select(connection, _KEPT, []):
        try:
            loaded.append(_load(row))
        except DeclarationError as error:
            label = _label(row["name"], row["generation"], row["state"])
            loaded.append(UnreadableIndex(row["index_id"], label, str(error)))
    return loaded


def _select(
    connection: psycopg.Connection, condition: LiteralString, values: Sequence[Any]
) -> Sequence[dict[str, Any]]:
    cursor = connection.cursor(row_factory=dict_row)
    return cursor.execute(_SELECT + condition, values).fetchall()


@lru_cache(maxsize=256)  # a worker reads the registry before each batch
def _spec(declaration: str) -> IndexSpec:
    return IndexSpec.from_json(json.loads(declaration))


def _load(row: dict[str, Any]) -> RegisteredIndex:
    values = dict(row)
    name = values.pop("name")
    try:
        spec = _spec(values.pop("declaration"))
    except DeclarationError as error:
        raise DeclarationError(f"index {name!r} cannot be used: {error}") from error
    return RegisteredIndex(spec=spec, **values)
