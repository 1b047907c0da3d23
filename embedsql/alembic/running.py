"""How an operation's statements are run, or printed: short locks, builds outside transactions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import stamina
from alembic.operations import Operations
from sqlalchemy import text
from sqlalchemy.engine import Connection, CursorResult
from sqlalchemy.exc import DBAPIError

from embedsql.errors import DeclarationError

LOCK_TIMEOUT = "2s"
_LOCK_NOT_AVAILABLE = "55P03"
# a build takes as long as it takes, whatever the role's defaults are
_UNBOUNDED = ("statement_timeout", "lock_timeout")


def is_offline(operations: Operations) -> bool:
    """Whether statements are printed (``--sql``): nothing can be asked of a database then."""
    return bool(operations.migration_context.as_sql)


def run(operations: Operations, statements: Sequence[str]) -> None:
    """Run statements in the revision's transaction, never waiting long for a lock.

    Whoever comes after a waiting ``CREATE TRIGGER`` waits behind it, so it waits briefly, stands
    aside and tries again.

    Raises:
        DeclarationError: A table stayed locked.
    """
    if is_offline(operations):
        _print(operations, f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}';")
        _print(operations, *statements)
        _print(operations, "SET LOCAL lock_timeout TO DEFAULT;")
        return
    bind = operations.get_bind()
    try:
        for attempt in _attempts():
            with attempt, bind.begin_nested(), _setting(bind, "lock_timeout", LOCK_TIMEOUT):
                for statement in statements:
                    execute(bind, statement)
    except DBAPIError as error:
        if not _is_locked(error):
            raise
        raise DeclarationError(
            "a table stayed locked by other transactions; nothing of this revision was applied, "
            "run it again when it is quieter"
        ) from error


def run_concurrently(operations: Operations, statements: Sequence[str]) -> None:
    """Run statements outside of any transaction; what the revision did before is committed."""
    with operations.get_context().autocommit_block():
        if is_offline(operations):
            _print(operations, *statements)
            return
        bind = operations.get_bind()
        with _unbounded(bind):
            for statement in statements:
                execute(bind, statement)


def execute(bind: Connection, statement: str) -> CursorResult[Any]:
    """Run a statement as it is: no bind parameters, no percent signs to double."""
    return bind.exec_driver_sql(statement, execution_options={"no_parameters": True})


def sqlstate(error: DBAPIError) -> str | None:
    """PostgreSQL's code of an error, whatever the driver calls it."""
    original: Any = error.orig
    return getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)


def _print(operations: Operations, *statements: str) -> None:
    for statement in statements:
        operations.migration_context.impl.static_output(statement + "\n")


def _attempts() -> stamina._core._RetryContextIterator:
    return stamina.retry_context(
        on=_is_locked, attempts=10, timeout=60, wait_initial=0.2, wait_max=3
    )


def _is_locked(error: Exception) -> bool:
    return isinstance(error, DBAPIError) and sqlstate(error) == _LOCK_NOT_AVAILABLE


@contextmanager
def _setting(bind: Connection, name: str, value: str, *, local: bool = True) -> Iterator[None]:
    """A setting for a while; an error's rollback to the savepoint takes it back by itself."""
    put = text("SELECT pg_catalog.set_config(:name, :value, :local)")
    before = bind.execute(text("SELECT pg_catalog.current_setting(:name)"), {"name": name}).scalar()
    bind.execute(put, {"name": name, "value": value, "local": local})
    yield
    bind.execute(put, {"name": name, "value": before, "local": local})


@contextmanager
def _unbounded(bind: Connection) -> Iterator[None]:
    if _is_pooled(bind):  # what is set here would be set for another client
        yield
        return
    for name in _UNBOUNDED:
        bind.exec_driver_sql(f"SET {name} = 0")
    try:
        yield
    finally:
        for name in _UNBOUNDED:
            bind.exec_driver_sql(f"RESET {name}")


def _is_pooled(bind: Connection) -> bool:
    """See ``embedsql.database.is_pooled``; a driver that does not tell is taken for direct."""
    info = getattr(bind.connection.driver_connection, "info", None)
    pid = getattr(info, "backend_pid", None)
    return pid is not None and execute(bind, "SELECT pg_catalog.pg_backend_pid()").scalar() != pid
