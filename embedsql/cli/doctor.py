"""``embedsql doctor``: what is wrong, and what mends it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from embedsql.cli.options import DatabaseUrl, Json, conninfo, console, print_json
from embedsql.database import connect
from embedsql.doctor import diagnose, is_healthy

NOT_HEALTHY = 3


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("doctor")(doctor)


def doctor(
    index: Annotated[
        str | None, typer.Argument(metavar="[INDEX]", help="Default: all.", show_default=False)
    ] = None,
    as_json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Say what is wrong with the indexes, each finding with the SQL or command that mends it.

    Changes nothing. Exit code 0 if nothing is worse than a note, 3 if there are warnings or
    errors. Run it as the role that works, and what that role lacks is found, too.
    """
    with connect(conninfo(database_url)) as connection:
        findings = diagnose(connection, index)
    healthy = is_healthy(findings)
    if as_json:
        print_json({"ok": healthy, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            about = f"{finding.index}: " if finding.index else ""
            console.print(f"{finding.severity}: {about}{finding.finding}", markup=False)
            for line in finding.mend.splitlines():
                console.print(f"    {line}", markup=False)
        if healthy:
            typer.echo("nothing is wrong" if not findings else "nothing is worse than a note")
    if not healthy:
        raise typer.Exit(NOT_HEALTHY)
