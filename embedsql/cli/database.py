"""``embedsql db``: the embedded server."""

from __future__ import annotations

from dataclasses import asdict

import typer

from embedsql.cli.options import Json, note, print_json
from embedsql.settings import Settings

app = typer.Typer(no_args_is_help=True, help="The embedded PostgreSQL (EMBEDSQL_HOME moves it).")


@app.command()
def start() -> None:
    """Start the server, unless it is running, and print its URL."""
    typer.echo(Settings().embedded_server().start())


@app.command()
def stop() -> None:
    """Stop the server."""
    stopped = Settings().embedded_server().stop()
    note("stopped" if stopped else "it was not running")


@app.command()
def url() -> None:
    """Print the server's URL, for psql, SQLAlchemy and DATABASE_URL alike."""
    typer.echo(Settings().embedded_server().url)


@app.command()
def status(as_json: Json = False) -> None:
    """Show whether the server is running, and where its files are."""
    found = Settings().embedded_server().status()
    if as_json:
        print_json(asdict(found))
        return
    typer.echo(f"running (pid {found.pid})" if found.running else "not running")
    typer.echo(f"data  {found.data}\nlog   {found.log}\nurl   {found.url}")
