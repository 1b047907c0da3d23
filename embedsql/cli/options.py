"""Options that several commands share, and what they stand for."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from embedsql.database import connect
from embedsql.installation import require_installed
from embedsql.settings import Settings

DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        help="SQLAlchemy or libpq spelling. Default: EMBEDSQL_DATABASE_URL, DATABASE_URL, else "
        "the embedded server.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
PrintSql = Annotated[bool, typer.Option("--sql", help="Print the SQL instead of running it.")]
IndexName = Annotated[str, typer.Argument(metavar="INDEX", help="Name of a semantic index.")]

WIDEST = 100_000

progress_console = Console(stderr=True)
# names and texts are printed as they are, whatever brackets and colons they have
console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)


def conninfo(database_url: str | None) -> str:
    """Where the database is; see ``Settings.conninfo``."""
    return Settings().conninfo(database_url)


def openai_key() -> str | None:
    """The key for ``openai:`` models, from the environment."""
    key = Settings().openai_api_key
    return None if key is None else key.get_secret_value()


def open_database(database_url: str | None) -> psycopg.Connection:
    """An autocommit connection to a database that has the kit's schema."""
    connection = connect(conninfo(database_url))
    require_installed(connection)
    return connection


def print_json(document: Any) -> None:
    """One JSON document on stdout; what JSON has no word for (UUID, date, …) as a string."""
    json.dump(document, sys.stdout, ensure_ascii=False, default=str)
    sys.stdout.write("\n")


def print_table(table: Table, *, fits: bool = False) -> None:
    """A table as wide as what is in it: nothing is cut, and a terminal wraps its lines.

    Args:
        table: The table.
        fits: Whether a terminal has it no wider than itself; its columns say what becomes of them.
    """
    if not (fits and console.is_terminal):
        unbounded = console.options.update(max_width=WIDEST)
        table.width = Measurement.get(console, unbounded, table).maximum
    console.print(table)


def note(message: str) -> None:
    """A line for the person at the terminal, on stderr."""
    typer.echo(message, err=True)
