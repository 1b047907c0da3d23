"""``embedsql reindex | prewarm``: the approximate indexes, anew and in memory."""

from __future__ import annotations

import typer

from embedsql.cli.logs import configure_logging
from embedsql.cli.options import (
    DatabaseUrl,
    IndexName,
    conninfo,
    note,
    open_database,
    progress_console,
)
from embedsql.cli.progress import build_progress
from embedsql.prewarm import prewarm_index
from embedsql.registry import find_index
from embedsql.vector_index import rebuild_vector_indexes


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("reindex", no_args_is_help=True)(reindex)
    app.command("prewarm", no_args_is_help=True)(prewarm)


def reindex(index: IndexName, database_url: DatabaseUrl = None) -> None:
    """Rebuild the approximate indexes beside the present ones, then let them take their place."""
    configure_logging(retries=False)
    with open_database(database_url) as connection:
        registered = find_index(connection, index)
        with build_progress(conninfo(database_url), enabled=progress_console.is_terminal):
            rebuild_vector_indexes(connection, registered)
    note(f"the approximate indexes of {index} were rebuilt")


def prewarm(index: IndexName, database_url: DatabaseUrl = None) -> None:
    """Load the index and its vectors into the server's memory, so that searches spare the disk."""
    with open_database(database_url) as connection:
        warmed = prewarm_index(connection, find_index(connection, index))
    for relation, size in warmed.items():
        note(f"{relation}: {size / 2**20:.1f} MB in memory")
