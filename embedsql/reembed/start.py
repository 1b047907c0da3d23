"""Make the next generation of an index, and remove one that is no longer wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import psycopg

from embedsql import ddl, registry, sqlfile
from embedsql.catalog import (
    asks,
    check_name_free,
    check_text_columns,
    check_text_configuration,
    describe_source,
)
from embedsql.declare import LOCKED, lock_attempts
from embedsql.errors import DeclarationError, ModelChangeError
from embedsql.grants import policy_statements
from embedsql.naming import ObjectNames
from embedsql.reembed.generations import Generations, act_as_owner
from embedsql.registry import RegisteredIndex
from embedsql.slots import Slots
from embedsql.spec import IndexSpec

# everybody who comes after a waiting lock request queues behind it: wait briefly, and try again
BRIEFLY = "SET LOCAL lock_timeout = '100ms'"
# An autovacuum of an HNSW index takes minutes, but gives way to a lock request that has waited for
# deadlock_timeout: so wait somewhat longer than that.
PAST_AUTOVACUUM = """
SELECT set_config('lock_timeout', (setting::int + 2000)::text, true)
FROM pg_catalog.pg_settings WHERE name = 'deadlock_timeout'
"""
ATTEMPTS = 50

_ROW_SECURITY = """
SELECT relrowsecurity FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass(%s)
"""


def begin(
    connection: psycopg.Connection, name: str, spec: IndexSpec, space: str | None
) -> RegisteredIndex:
    """Make the tables and triggers of the next generation, whole or not at all.

    Returns:
        The generation; the one that is there already where it is declared so.

    Raises:
        ModelChangeError: Another change is under way, nothing would change, or what depends on
            the index's views stands in the way.
        DeclarationError: The source cannot carry the declaration.
    """
    generations = Generations.of(connection, name)
    for one in generations.dropping:
        remove(connection, one)
    if generations.next is not None:
        _require_same(generations.next, spec)
        return generations.next
    serving = generations.serving
    _check(connection, generations, spec, space)
    names = ObjectNames(name, generations.last + 1)
    table = sqlfile.quoted(spec.schema, spec.table)
    statements = ddl.next_generation_statements(
        spec,
        names,
        space=space,
        partitioned=describe_source(connection, table).partitioned,
        like=serving.names,
    )
    if _hides_rows(connection, serving):
        statements += policy_statements(spec, names)
    _briefly(connection, serving, statements)
    return Generations.of(connection, name).require_next()


def remove(connection: psycopg.Connection, index: RegisteredIndex) -> None:
    """Remove a generation that does not serve, in two steps.

    The first takes its triggers, whose lock keeps the source's readers waiting, and nothing else.

    Raises:
        ModelChangeError: The table stayed locked.
    """
    if index.state != "dropping":
        _briefly(
            connection,
            index,
            ddl.drop_trigger_statements(index.spec, index.names),
            before=lambda: registry.set_state(connection, index.index_id, "dropping"),
        )
    # Its triggers are gone, so no user's transaction locks its tables any more, and a longer wait
    # harms nobody; unless a column of the source goes, too.
    waiting = BRIEFLY if index.spec.storage == "column" else PAST_AUTOVACUUM
    statements = ddl.drop_generation_statements(index.spec, index.names)
    _briefly(connection, index, statements, waiting=waiting)


def dependents(connection: psycopg.Connection, spec: IndexSpec) -> list[str]:
    """What depends on the views of an index, in the server's words: ``view report``."""
    slots = Slots(spec)
    values = {
        "index_view": sqlfile.text(slots.index_view),
        "serving_view": sqlfile.text(slots.serving_view),
    }
    found = connection.execute(sqlfile.statement(__package__, "dependents.sql"), values)
    return [str(row[0]) for row in found.fetchall()]


def _check(
    connection: psycopg.Connection, generations: Generations, spec: IndexSpec, space: str | None
) -> None:
    serving = generations.serving
    if generations.previous is not None:
        raise ModelChangeError(
            f"generation {generations.previous.generation} of {spec.name!r} is still kept: "
            f"embedsql reembed {spec.name} --finish drops it, --rollback goes back to it"
        )
    if spec == serving.spec and space in (None, serving.space):
        raise ModelChangeError(f"{spec.name!r} is declared so already: nothing would change")
    source = describe_source(connection, sqlfile.quoted(spec.schema, spec.table))
    check_text_columns(source, spec.text)
    if spec.lexical is not None:
        check_text_configuration(asks(connection), spec.lexical)
    names = ObjectNames(spec.name, generations.last + 1)
    check_name_free(asks(connection), spec.schema, names.next(spec.name))
    _check_column(spec, serving.spec)
    if (spec.vector_type, spec.vectors) != (serving.spec.vector_type, serving.spec.vectors):
        refuse_dependents(connection, spec)


def _check_column(spec: IndexSpec, serving: IndexSpec) -> None:
    columns = {one.vector_column for one in (spec, serving)}
    if spec.storage == serving.storage == "column" and len(columns) == 1:
        raise DeclarationError(
            f"the column {spec.vector_column!r} of {spec.table!r} holds the vectors that serve: "
            "name another for the new ones (--vector-column)"
        )


def _hides_rows(connection: psycopg.Connection, serving: RegisteredIndex) -> bool:
    """Whether the policies of the source hold for the serving generation's chunks."""
    table = sqlfile.text(sqlfile.kit(serving.names.chunk))
    found = connection.execute(_ROW_SECURITY, [table]).fetchone()
    return found is not None and bool(found[0])


def refuse_dependents(connection: psycopg.Connection, spec: IndexSpec) -> None:
    """Refuse to re-make views that others depend on.

    Raises:
        ModelChangeError: With what depends on them.
    """
    if found := dependents(connection, spec):
        raise ModelChangeError(
            f"{', '.join(found)} depend on the views of {spec.name!r}, whose vectors are to be "
            f"{spec.vector_type}: drop them and make them again after the switch"
        )


def _require_same(index: RegisteredIndex, spec: IndexSpec) -> None:
    if index.spec != spec:
        raise ModelChangeError(
            f"a change of {spec.name!r} to {index.spec.model} ({index.spec.vector_type}) is under "
            f"way and declared otherwise: go on with it (embedsql reembed {spec.name}, without "
            "options), or --abort it first"
        )


def _briefly(
    connection: psycopg.Connection,
    owned: RegisteredIndex,
    statements: Sequence[str],
    before: Callable[[], None] = lambda: None,
    waiting: str = BRIEFLY,
) -> None:
    """Run statements in one transaction that waits for no lock for long; again until they are."""
    try:
        for attempt in lock_attempts(ATTEMPTS):
            with attempt, connection.transaction():
                connection.execute(waiting.encode())
                connection.execute("SET LOCAL client_min_messages = warning")
                act_as_owner(connection, owned)
                before()
                for statement in statements:
                    connection.execute(statement.encode())
    except LOCKED as error:
        raise ModelChangeError(
            f"the table {owned.spec.table!r} stayed locked by other transactions; try again when "
            "it is quieter"
        ) from error
