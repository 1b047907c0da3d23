"""Let another generation serve: one short transaction, at a moment when no row is lost by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import psycopg

from embedsql import ddl, registry, sqlfile
from embedsql.errors import ModelChangeError
from embedsql.reembed.filling import behind, dead, look_again
from embedsql.reembed.generations import act_as_owner
from embedsql.reembed.stand_in import StandIn
from embedsql.reembed.start import refuse_dependents
from embedsql.registry import RegisteredIndex
from embedsql.search import SearchTuning
from embedsql.slots import Slots
from embedsql.sqlsearch import function_statements
from embedsql.stored_tuning import stored_tuning

PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.02

# Searches queue behind us while the views are replaced, and while we wait for a search to end.
_BRIEFLY = """
SELECT set_config('lock_timeout', '50ms', true), set_config('statement_timeout', '200ms', true)
"""

_COLUMNS = """
SELECT attname, atttypid, atttypmod FROM pg_catalog.pg_attribute
WHERE attrelid = pg_catalog.to_regclass(%s) AND attnum > 0 ORDER BY attnum
"""
_NOT_NOW = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.QueryCanceled,
    psycopg.errors.DeadlockDetected,
)


class _BehindError(Exception):
    """A change came in between: roll back and try again."""


def switch(
    connection: psycopg.Connection,
    target: RegisteredIndex,
    serving: RegisteredIndex,
    stand_in: StandIn,
    *,
    force: bool = False,
    patience: float = PATIENCE_SECONDS,
) -> None:
    """Let ``target`` serve in place of ``serving``.

    Workers deal with the target's changes first meanwhile. The views are re-pointed in the moment
    at which it lacks nothing that the serving generation has.

    Args:
        connection: In autocommit mode.
        target: A generation that is filled.
        serving: The one that serves.
        stand_in: Who embeds what is left.
        force: Switch although rows are dead, or still lacking when the patience is at its end.
        patience: Seconds.

    Raises:
        ModelChangeError: It has dead letters, does not keep up, or something depends on the views.
    """
    if not force and (count := dead(connection, target, serving)):
        raise ModelChangeError(
            f"{count} rows are dead letters of {target.label} alone and would be lost: embedsql "
            f"dead list, embedsql dead retry; or switch without them (--force)"
        )
    in_place = _columns_agree(connection, target)
    if not in_place:
        refuse_dependents(connection, target.spec)
    registry.set_state(connection, target.index_id, "switching")
    done = False
    try:
        _wait_and_switch(connection, target, serving, stand_in, in_place, force, patience)
        done = True
    finally:
        if not done and not connection.closed:
            rest = "ready" if target.generation > serving.generation else "retired"
            registry.set_state(connection, target.index_id, rest, only_from="switching")


def _wait_and_switch(
    connection: psycopg.Connection,
    target: RegisteredIndex,
    serving: RegisteredIndex,
    stand_in: StandIn,
    in_place: bool,
    force: bool,
    patience: float,
) -> None:
    deadline = time.monotonic() + patience
    # Prepared before the right moment is waited for: a third of a second later it would be over.
    kept = stored_tuning(connection, target.spec.name, target.generation)
    statements = [
        *function_statements(target.spec, target.names, SearchTuning.kept(kept)),
        # last, since they lock the views
        *ddl.switch_statements(target.spec, target.names, in_place=in_place),
    ]
    lacking: Callable[[], int] = lambda: behind(connection, target, serving)  # noqa: E731
    why = "rows still lack"
    while True:
        stand_in.ensure(connection)
        late = time.monotonic() >= deadline
        backfilling = look_again(connection, target).backfilling
        if (not backfilling and not lacking()) or (late and force):
            try:
                with connection.transaction():
                    _repoint(connection, target, serving, statements)
                    if not (late and force) and lacking():
                        raise _BehindError
                return
            except _BehindError:
                pass
            except _NOT_NOW as error:
                why = str(error).splitlines()[0]
        if late:
            raise ModelChangeError(
                f"{target.label} was not switched to within {patience:g} s ({why}; {lacking()} "
                "rows behind): do workers keep up, or does a long transaction read the index?"
            )
        time.sleep(PAUSE_SECONDS)


def _repoint(
    connection: psycopg.Connection,
    target: RegisteredIndex,
    serving: RegisteredIndex,
    statements: Sequence[str],
) -> None:
    connection.execute(_BRIEFLY)
    act_as_owner(connection, serving)
    connection.execute(Slots(target.spec).lock_source, {})  # first, as every search locks it
    for statement in statements:
        connection.execute(statement.encode())


def _columns_agree(connection: psycopg.Connection, target: RegisteredIndex) -> bool:
    """Whether the view that serves may stay, with what depends on it."""
    views = (target.names.serving_view, target.names.chunk_view)
    there, wanted = (
        connection.execute(_COLUMNS, [sqlfile.text(sqlfile.kit(view))]).fetchall() for view in views
    )
    return there == wanted
