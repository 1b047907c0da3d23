"""DDL of one semantic index: its tables, views, triggers and vector index, from its ``IndexSpec``.

Every function gives statements as text, so that ``--sql``, Alembic's offline mode and a live
connection all run the same ones. The texts stand in the ``.sql`` files of this folder.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

from psycopg import sql

from embedsql import sqlfile
from embedsql.ddl.approximate import ApproximateIndex, approximate_indexes, wanted_indexes
from embedsql.ddl.serving import (
    copy_grants_statements,
    drop_serving_statements,
    drop_views,
    grant_again,
    keep_grants,
    serving_statements,
    take_over_statements,
)
from embedsql.ddl.tables import drop_table_statements, identity, table_statements
from embedsql.ddl.triggers import (
    EVENTS,
    drop_triggers,
    trigger_events,
    trigger_statements,
)
from embedsql.naming import ObjectNames
from embedsql.slots import Slots
from embedsql.spec import IndexSpec

__all__ = [
    "EVENTS",
    "ApproximateIndex",
    "approximate_indexes",
    "chunk_statements",
    "create_statements",
    "drop_generation_statements",
    "drop_statements",
    "drop_trigger_statements",
    "drop_views_statements",
    "grant_again_statements",
    "guard_statements",
    "keep_grants_statements",
    "next_generation_statements",
    "require_ready_statement",
    "switch_statements",
    "trigger_events",
    "trigger_texts",
    "wanted_indexes",
]

_script = partial(sqlfile.script, __name__)


def create_statements(
    spec: IndexSpec,
    *,
    space: str | None = None,
    partitioned: bool = False,
    names: ObjectNames | None = None,
) -> list[str]:
    """The statements that make a semantic index, all but its vector index.

    Args:
        spec: The declaration.
        space: Label of the space of its vectors, where the model was at hand.
        partitioned: Whether the source is a partitioned table, which needs row triggers.
        names: Of its objects, where they are of another generation than the first.
    """
    slots = Slots(spec, names)
    statements = table_statements(slots, space, "serving", partitioned=partitioned)
    statements += serving_statements(slots)
    return _texts(statements + trigger_statements(slots, partitioned=partitioned))


def next_generation_statements(
    spec: IndexSpec,
    names: ObjectNames,
    *,
    space: str | None = None,
    partitioned: bool = False,
    like: ObjectNames,
) -> list[str]:
    """The statements that make another generation of an index, beside the one that serves.

    Args:
        spec: Its declaration.
        names: Its objects.
        space: See ``create_statements``.
        partitioned: See ``create_statements``.
        like: The serving generation's objects: whoever has privileges on these gets them.
    """
    slots = Slots(spec, names)
    statements = table_statements(slots, space, "building", partitioned=partitioned)
    statements += copy_grants_statements(slots, like)
    # the triggers last: their lock keeps the source's writers waiting until the commit
    return _texts(statements + trigger_statements(slots, partitioned=partitioned))


def keep_grants_statements(spec: IndexSpec, names: ObjectNames, instead: str) -> list[str]:
    """The statements that keep what roles may do with an index that is about to be dropped.

    Args:
        spec: Its declaration.
        names: Its objects.
        instead: The name of the index that is made after it.
    """
    return _texts(keep_grants(Slots(spec, names), instead))


def grant_again_statements(spec: IndexSpec, policies: Sequence[str]) -> list[str]:
    """The statements that let roles do the same with the index that was made instead.

    Args:
        spec: Its declaration.
        policies: What hides rows of it; run where rows of the other were hidden.
    """
    return _texts(grant_again(Slots(spec), policies))


def switch_statements(spec: IndexSpec, names: ObjectNames, *, in_place: bool) -> list[str]:
    """The statements that let a generation serve in place of another; for one transaction.

    Args:
        spec: Its declaration.
        names: Its objects.
        in_place: Whether its view has the columns and types of the one that serves: what depends
            on the views of the index stays, then.
    """
    slots = Slots(spec, names)
    return _texts(
        _script("serving_state.sql", **identity(slots))
        + take_over_statements(slots, in_place=in_place)
    )


def guard_statements(spec: IndexSpec, names: ObjectNames) -> list[str]:
    """The statements after which a generation's views refuse snapshots of before its switch."""
    return _texts(take_over_statements(Slots(spec, names), in_place=True))


def require_ready_statement(spec: IndexSpec, names: ObjectNames) -> str:
    """The statement that fails unless a generation may be switched to."""
    (statement,) = _script("require_ready.sql", **identity(Slots(spec, names)))
    return sqlfile.text(statement)


def drop_statements(spec: IndexSpec) -> list[str]:
    """The statements that remove a semantic index and all it made; the source table stays.

    Of other generations than the first, too, wherever the database has them.
    """
    slots = Slots(spec)
    return _texts(
        drop_triggers(slots) + drop_serving_statements(slots) + drop_table_statements(slots)
    )


def drop_views_statements(spec: IndexSpec) -> list[str]:
    """The statements that remove what serves searches, as the first step of a drop."""
    return _texts(drop_views(Slots(spec)))


def drop_generation_statements(spec: IndexSpec, names: ObjectNames) -> list[str]:
    """The statements that remove one generation without triggers, which must not serve."""
    return _texts(drop_table_statements(Slots(spec, names)))


def drop_trigger_statements(spec: IndexSpec, names: ObjectNames) -> list[str]:
    """The statements after which a generation is not fed any more."""
    return _texts(drop_triggers(Slots(spec, names)))


def chunk_statements(spec: IndexSpec, chunk: sql.Identifier) -> list[str]:
    """The statements that make a table of chunks alone, with its indexes, under another name.

    Args:
        spec: The declaration.
        chunk: That table's name; in ``pg_temp``, say.
    """
    slots = Slots(spec)
    slots.chunk = chunk
    statements = _texts(table_statements(slots, None, "building", partitioned=False))
    name = sqlfile.text(chunk)
    kinds = ("CREATE TABLE", "CREATE INDEX", "ALTER TABLE")
    firsts = [(one, _first_line(one)) for one in statements]
    return [one for one, first in firsts if name in first and first.startswith(kinds)]


def trigger_texts(
    spec: IndexSpec, names: ObjectNames, made: Collection[str], *, partitioned: bool
) -> list[str]:
    """The statements that make those triggers, or their functions, that bear one of some names."""
    statements = _texts(trigger_statements(Slots(spec, names), partitioned=partitioned))
    marks = [sqlfile.quoted(name) for name in made]
    return [one for one in statements if any(mark in _first_line(one) for mark in marks)]


def _first_line(statement: str) -> str:
    """Where a statement says what it makes."""
    return next(line for line in statement.splitlines() if line and not line.startswith("--"))


def _texts(statements: list[sql.Composed]) -> list[str]:
    return [sqlfile.text(statement) for statement in statements]
