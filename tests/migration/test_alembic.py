"""The operations in revisions of an application's own, and the environment in migrations/."""

from __future__ import annotations

import io
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from psycopg.conninfo import conninfo_to_dict

from embedsql.database import connect
from embedsql.embedded.account import server_account
from embedsql.embedded.binaries import binary_folder
from tests.factories import drain, verify_all

ROOT = Path(__file__).parents[2]


@pytest.fixture
def alembic(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("EMBEDSQL_DATABASE_URL", empty_database)
    config = Config(toml_file=ROOT / "pyproject.toml")
    config.stdout = io.StringIO()
    config.output_buffer = io.StringIO()
    return config


def printed(config: Config) -> str:
    assert isinstance(config.output_buffer, io.StringIO)
    return config.output_buffer.getvalue()


def schema_of(database: str) -> str:
    found = conninfo_to_dict(database)
    dump = subprocess.run(
        [
            binary_folder(server_account()) / "pg_dump",
            "--schema-only",
            f"--host={found['host']}",
            f"--username={found['user']}",
            str(found["dbname"]),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    # pg_dump guards its own meta-commands with a random word
    return re.sub(r"\\(un)?restrict \S+", "", dump)


def test_environment_makes_the_demo_table_and_index(alembic: Config, empty_database: str) -> None:
    command.upgrade(alembic, "head")
    with connect(empty_database) as connection:
        connection.execute(
            "INSERT INTO python_doc (name, kind, signature, doc) "
            "VALUES ('a', 'function', 'a()', 'does a thing')"
        )
        connection.execute(
            "UPDATE embedsql.semantic_index SET declaration = declaration "
            """|| '{"model": "hash:384"}'"""
        )
    drain(empty_database)
    with connect(empty_database) as connection:
        found = connection.execute("SELECT id, chunk FROM python_doc_search").fetchall()
    assert found == [(1, "a\n\ndoes a thing")]
    assert verify_all(empty_database).ok


def test_upgrade_downgrade_upgrade_leaves_the_same_schema(
    alembic: Config, empty_database: str
) -> None:
    command.upgrade(alembic, "head")
    first = schema_of(empty_database)
    assert "CREATE TABLE embedsql.python_doc_search_log" in first
    command.downgrade(alembic, "base")
    assert "embedsql" not in schema_of(empty_database).replace("test_", "")
    command.upgrade(alembic, "head")
    assert schema_of(empty_database) == first


def test_offline_sql_makes_what_online_makes(
    alembic: Config, empty_database: str, new_database: Callable[..., str]
) -> None:
    command.upgrade(alembic, "head")
    command.upgrade(alembic, "head", sql=True)
    script = printed(alembic)
    assert "%%" not in script
    other = new_database()
    with psycopg.connect(other, autocommit=True) as connection:
        connection.execute(script.encode())
    assert schema_of(other) == schema_of(empty_database)
    with psycopg.connect(other, autocommit=True) as connection:
        command.downgrade(alembic, "head:base", sql=True)
        connection.execute(printed(alembic)[len(script) :].encode())
        assert connection.execute("SELECT to_regnamespace('embedsql')").fetchone() == (None,)


def test_installing_again_is_no_error(alembic: Config, empty_database: str) -> None:
    with connect(empty_database) as connection:
        from embedsql.installation import install

        install(connection)
    command.upgrade(alembic, "head")
    command.check(alembic)


def test_rows_that_exist_are_embedded_after_a_migration(
    alembic: Config, empty_database: str
) -> None:
    command.upgrade(alembic, "0002")
    with connect(empty_database) as connection:
        connection.execute(
            "INSERT INTO python_doc (name, kind, signature, doc) "
            "SELECT 'n' || n, 'function', '', 'text ' || n FROM generate_series(1, 50) AS n"
        )
        command.upgrade(alembic, "head")
        connection.execute(
            "UPDATE embedsql.semantic_index SET declaration = declaration "
            """|| '{"model": "hash:384"}'"""
        )
    assert drain(empty_database).saved == 50
    assert verify_all(empty_database).ok
