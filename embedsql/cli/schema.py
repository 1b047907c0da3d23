"""``embedsql install | uninstall``: the kit's own schema."""

from __future__ import annotations

import typer

from embedsql import schema
from embedsql.cli.options import DatabaseUrl, PrintSql, conninfo, note
from embedsql.database import connect
from embedsql.installation import install, uninstall


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("install")(install_schema)
    app.command("uninstall")(uninstall_schema)


def install_schema(database_url: DatabaseUrl = None, print_sql: PrintSql = False) -> None:
    """Install or upgrade embedsql's own schema; one that is up to date is left as it is."""
    if print_sql:
        for statement in schema.extension_statements():
            typer.echo(statement + "\n")
        typer.echo(schema.upgrade_sql(0))
        return
    with connect(conninfo(database_url)) as connection:
        before = install(connection)
    there = "was there already" if before == schema.LATEST else f"installed (before: {before})"
    note(f"schema version {schema.LATEST} {there}")


def uninstall_schema(database_url: DatabaseUrl = None, print_sql: PrintSql = False) -> None:
    """Drop embedsql's schema and every semantic index; source tables are left as they are."""
    if print_sql:
        typer.echo(schema.downgrade_sql(schema.LATEST))
        return
    with connect(conninfo(database_url)) as connection:
        before = uninstall(connection)
    note(f"schema version {before} removed" if before else "it was not installed")
