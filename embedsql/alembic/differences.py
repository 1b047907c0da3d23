"""Where a database's objects are not what an index's declaration makes of them.

No text is parsed. The same statements that made the index make it once more, empty, in two
schemas that are rolled back at once, and the server spells both: operator classes, options,
casts, predicates, trigger conditions and function bodies are compared as it understands them.
Nothing that others use is locked.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from embedsql import ddl, declare, sqlfile
from embedsql.alembic.changes import starts_with
from embedsql.alembic.found import registered_tuning
from embedsql.alembic.running import execute, sqlstate
from embedsql.naming import SCHEMA, ObjectNames
from embedsql.search import SearchTuning
from embedsql.spec import IndexSpec

# SQLSTATEs: this role may not create schemas, or nobody may (a standby, a read-only transaction)
_NOT_ALLOWED = frozenset({"42501", "25006"})
_UNDEFINED_COLUMN = "42703"

_Objects = dict[tuple[str, str], str]


# what a switch to another generation puts into the views, see ``embedsql.require_serving``
_GUARD = re.compile(r"\s+WHERE embedsql\.require_serving\('.*'::text, \d+\)(?=;)", re.DOTALL)


class NotComparableError(Exception):
    """This role or this server lets nobody build the index once more, to compare."""


@dataclass(frozen=True)
class Difference:
    """An object that is missing, too many, or of another definition.

    Attributes:
        kind: ``columns``, ``constraints``, ``index``, ``view``, ``function``, ``trigger`` or
            ``source_column``.
        name: Of the object.
        expected: Its definition as the declaration makes it; ``None``: it should not be there.
        found: Its definition; ``None``: it is not there.
    """

    kind: str
    name: str
    expected: str | None
    found: str | None


def differences(
    bind: Connection, spec: IndexSpec, names: ObjectNames, *, partitioned: bool
) -> list[Difference]:
    """Compare an index's objects with its declaration.

    An approximate index that is not there is no difference: a worker builds it.

    Args:
        bind: In a transaction, which is left as it was.
        spec: The declaration that the objects were made of.
        names: The objects.
        partitioned: Whether the source is a partitioned table.

    Raises:
        NotComparableError: The role may not create schemas.
    """
    shadow = _Shadow(spec, names)
    savepoint = bind.begin_nested()
    try:
        tuning = registered_tuning(bind, spec.name, names.generation)
        shadow.build(bind, tuning, partitioned=partitioned)
        bind.exec_driver_sql("SET LOCAL search_path = pg_catalog")
        expected = shadow.named_as_ours(bind, shadow.read(bind, shadow.own, shadow.source))
        found = shadow.read(bind, SCHEMA, spec.schema)
    except DBAPIError as error:
        if sqlstate(error) in _NOT_ALLOWED:
            raise NotComparableError(str(error.orig)) from error
        if sqlstate(error) == _UNDEFINED_COLUMN:
            return [Difference("columns", spec.table, ", ".join(spec.watched), None)]
        raise
    finally:
        savepoint.rollback()
    return _compare(expected, found, names, _lists_are_free(spec))


def _compare(
    expected: _Objects, found: _Objects, names: ObjectNames, free_lists: bool
) -> list[Difference]:
    differing = []
    # Compared is what the declaration makes and, to find leftovers, our trigger functions and every
    # trigger that calls one of them.
    functions = {f"{names.trigger_function(event)}()" for event in ddl.EVENTS}
    others = [(kind, name) for kind, name in found if kind == "trigger" or name in functions]
    for kind, name in dict.fromkeys([*expected, *others]):
        should, does = expected.get((kind, name)), found.get((kind, name))
        if name in (names.vector_index, names.term_index):
            if does is None:
                continue
            if free_lists and should is not None:
                should, does = _without_lists(should), _without_lists(does)
        if kind == "view" and does is not None:
            does = _GUARD.sub("", does)
        if should != does:
            differing.append(Difference(kind, name, should, does))
    return differing


class _Shadow:
    """An index made once more, in schemas of its own."""

    def __init__(self, spec: IndexSpec, names: ObjectNames) -> None:
        self._spec = spec
        self._names = names
        self._objects = text(sqlfile.read(__package__, "objects.sql"))
        word = uuid.uuid4().hex[:12]
        self.own, self.source = f"embedsql_own_{word}", f"embedsql_source_{word}"

    def build(self, bind: Connection, tuning: SearchTuning, *, partitioned: bool) -> None:
        """Make the index, empty, on an empty copy of what its declaration says of the source."""
        spec = self._spec
        bind.exec_driver_sql("SET LOCAL client_min_messages = warning")
        for schema in (self.own, self.source):
            execute(bind, f"CREATE SCHEMA {schema}")
        key = [column.name for column in spec.key]
        make = sqlfile.script(
            __package__,
            "source_copy.sql",
            copy=sqlfile.identifier(self.source, spec.table),
            columns=sqlfile.comma(map(sqlfile.identifier, dict.fromkeys((*key, *spec.watched)))),
            source=sqlfile.identifier(spec.schema, spec.table),
            key=sqlfile.comma(map(sqlfile.identifier, key)),
        )
        for statement in map(sqlfile.text, make):
            execute(bind, statement)
        statements = declare.create_statements(
            spec, names=self._names, tuning=tuning, partitioned=partitioned
        )
        statements = [each for each in statements if not starts_with(each, "INSERT")]
        for one in ddl.wanted_indexes(spec, self._names):
            statements += [made for made in [one.create(concurrently=False)] if made]
        for made in statements:
            execute(bind, self._moved(made))

    def read(self, bind: Connection, own: str, source: str) -> _Objects:
        """What stands in two schemas; of the second, what belongs to the source."""
        functions = [self._names.trigger_function(event) for event in ddl.EVENTS]
        rows = bind.execute(
            self._objects,
            {
                "own": sqlfile.quoted(own),
                "source": sqlfile.quoted(source),
                "table": self._spec.table,
                "index": self._spec.name,
                "trigger_functions": functions,
            },
        )
        return {(kind, name): definition for kind, name, definition in rows}

    def named_as_ours(self, bind: Connection, objects: _Objects) -> _Objects:
        """Definitions as they would be in the schemas that they belong in."""
        quote = text("SELECT pg_catalog.quote_ident(:name)")
        ours = {self.own: SCHEMA, self.source: self._spec.schema}
        swaps = []
        for shadow, real in ours.items():
            plain: str = bind.execute(quote, {"name": real}).scalar_one()
            swaps += [(f'"{shadow}"', sqlfile.quoted(real)), (shadow, plain)]
        renamed = {}
        for each, definition in objects.items():
            for shadow, real in swaps:
                definition = definition.replace(shadow, real)
            renamed[each] = definition
        return renamed

    def _moved(self, statement: str) -> str:
        spec = self._spec
        for name in (spec.table, spec.name, self._names.vector_index):
            here, there = sqlfile.quoted(spec.schema, name), sqlfile.quoted(self.source, name)
            for spelled in (_escaped, _doubled, str):
                statement = statement.replace(spelled(here), spelled(there))
        return statement.replace(sqlfile.quoted(SCHEMA) + ".", sqlfile.quoted(self.own) + ".")


def _lists_are_free(spec: IndexSpec) -> bool:
    """Whether an IVFFlat index has as many lists as its builder found right."""
    return spec.index == "ivfflat" and spec.ivfflat.lists is None


def _without_lists(definition: str) -> str:
    head, found, _ = definition.partition(" WITH (lists=")
    return head + (" INVALID" if definition.endswith(" INVALID") else "") if found else definition


def _doubled(name: str) -> str:
    """A name as it stands in a literal."""
    return name.replace("'", "''")


def _escaped(name: str) -> str:
    """A name as it stands in a literal whose backslashes escape: ``E'…'``."""
    return _doubled(name).replace("\\", "\\\\")
