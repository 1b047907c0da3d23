"""``embedsql dead | requeue | wait``: what waits and what failed."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from embedsql import registry
from embedsql.changelog import ChangeLog
from embedsql.cli.options import DatabaseUrl, IndexName, Json, note, open_database, print_json
from embedsql.registry import find_generations, find_index
from embedsql.requeue import dead_letters, drop_dead_letters, requeue_rows
from embedsql.verify import verify_index

dead_app = typer.Typer(no_args_is_help=True, help="Dead letters: rows that failed for good.")
OnlyIndex = Annotated[str | None, typer.Option("--index", help="Only of this index.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(dead_app, name="dead")
    app.command("requeue", no_args_is_help=True)(requeue)
    app.command("wait", no_args_is_help=True)(wait)


@dead_app.command("list")
def list_dead(
    index: OnlyIndex = None, as_json: Json = False, database_url: DatabaseUrl = None
) -> None:
    """Show the dead letters, with their errors."""
    with open_database(database_url) as connection:
        letters = dead_letters(connection, index)
    if as_json:
        print_json({"dead": letters})
        return
    for letter in letters:
        typer.echo("{index} {key}: {error_class}: {error} ({attempts} attempts)".format(**letter))


@dead_app.command("retry")
def retry_dead(index: OnlyIndex = None, database_url: DatabaseUrl = None) -> None:
    """Embed the dead letters again; their attempts count from zero."""
    with open_database(database_url) as connection:
        chosen = find_generations(connection, index) if index else registry.all_indexes(connection)
        revived = sum(ChangeLog(one, "command line").revive(connection) for one in chosen)
    note(f"{revived} rows wait to be embedded")


@dead_app.command("drop")
def drop_dead(index: OnlyIndex = None, database_url: DatabaseUrl = None) -> None:
    """Forget the dead letters; their rows have no vectors until they are edited or requeued."""
    with open_database(database_url) as connection:
        note(f"{drop_dead_letters(connection, index)} dead letters dropped")


def requeue(
    index: IndexName,
    where: Annotated[
        str | None, typer.Option(help="Only rows that meet this SQL condition.")
    ] = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Embed rows again, whether or not their text changed."""
    with open_database(database_url) as connection:
        counts = [
            requeue_rows(connection, one, where)
            for one in find_generations(connection, index)
            if one.state != "dropping"
        ]
        count = max(counts)
    note(f"{count} rows wait to be embedded")


def wait(
    index: IndexName,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds; then exit code 1.")] = 300,
    database_url: DatabaseUrl = None,
) -> None:
    """Wait until no row is pending: each is embedded, or a dead letter."""
    deadline = time.monotonic() + timeout
    with open_database(database_url) as connection:
        found = find_index(connection, index)
        log = ChangeLog(found, "command line")
        while not log.is_empty(connection):
            if time.monotonic() >= deadline:
                pending = verify_index(connection, found).pending
                note(f"{pending} rows still wait after {timeout:g} s: does a worker run?")
                raise typer.Exit(1)
            time.sleep(0.1)
