"""The ``embedsql`` command: thin functions over the library.

Exit codes: 0 success; 1 a failure, said in one line; 2 bad usage; 3 the data is not as it should
be (``worker --drain`` with dead letters, ``verify`` or ``doctor`` with findings,
``tune`` without a setting that reaches the target).
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import psycopg
import sqlalchemy.exc
import typer
from stamina.instrumentation import set_on_retry_hooks

from embedsql.cli import (
    database,
    declare,
    doctor,
    evaluate,
    grants,
    maintain,
    plan,
    queue,
    reembed,
    schema,
    search,
    tune,
    work,
)
from embedsql.errors import EmbedsqlError

app = typer.Typer(
    name="embedsql",
    help="Semantic search inside the PostgreSQL your application already has.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
app.add_typer(database.app, name="db")
schema.add_to(app)
declare.add_to(app)
work.add_to(app)
search.add_to(app)
evaluate.add_to(app)
queue.add_to(app)
reembed.add_to(app)
grants.add_to(app)
maintain.add_to(app)
doctor.add_to(app)
plan.add_to(app)
tune.add_to(app)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"embedsql {version('embedsql')}")
        raise typer.Exit


@app.callback()
def _options(
    asked: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the release."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; every expected failure becomes one line and exit code 1."""
    set_on_retry_hooks(())  # stamina would report retries on stdout, where only results belong
    try:
        app()
    except EmbedsqlError as error:
        _fail(str(error))
    except (psycopg.Error, sqlalchemy.exc.DBAPIError) as error:
        _fail(_server_words(error))
    except BrokenPipeError:  # the reader of our output left, as `| head` does
        sys.stderr.close()
        sys.exit(1)


def _fail(message: str) -> None:
    typer.echo(f"embedsql: {' '.join(message.split())}", err=True)
    sys.exit(1)


_FOR_THE_OWNER = (
    "run this as the indexes' owner; embedsql grant gives what a worker needs, and what searches "
    "of an application or in SQL do"
)


def _server_words(error: psycopg.Error | sqlalchemy.exc.DBAPIError) -> str:
    original = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
    diagnostic = getattr(original, "diag", None)
    words = getattr(diagnostic, "message_primary", None) or str(original)
    hint = getattr(diagnostic, "message_hint", None)
    if isinstance(original, psycopg.errors.ReadOnlySqlTransaction):
        hint = "a standby, or a read-only session: this needs the primary"
    if isinstance(original, psycopg.errors.InsufficientPrivilege):
        hint = hint or _FOR_THE_OWNER
    return f"the database said: {words}" + (f" ({hint})" if hint else "")
