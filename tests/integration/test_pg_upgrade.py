"""``pg_upgrade`` of a server with indexes: no column of ours stands in its way, and all go on."""

from __future__ import annotations

import tempfile
from pathlib import Path

import psycopg
import pytest

from embedsql.database import connect, conninfo
from embedsql.embedded.account import server_account
from embedsql.embedded.binaries import binary_folder
from embedsql.installation import install
from tests.factories import add_index, create_article_table, drain, verify_all
from tests.servers import as_server_account, own_server, run_program

pytestmark = pytest.mark.exhaustive  # servers of their own, and twenty indexes

KEY_TYPES = (
    "smallint, integer, bigint, oid, uuid, text, varchar(9), char(3), numeric(9,2), boolean, date, "
    "timestamptz, interval, bytea, inet, macaddr, double precision, bit(3), int4range, jsonb"
).split(", ")

# the types that hold an oid which pg_upgrade does not keep
REG_COLUMNS = """
SELECT c.relname, a.attname, t.typname
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid
JOIN pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_type AS element ON element.oid = t.typelem
WHERE c.relnamespace = %s::text::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
AND coalesce(element.typname, t.typname) LIKE 'reg%%'
"""


def test_no_column_of_ours_is_of_a_type_that_blocks_pg_upgrade(
    connection: psycopg.Connection,
) -> None:
    for place, key_type in enumerate(KEY_TYPES):
        table = f"t{place}"
        connection.execute(f"CREATE TABLE {table} (id {key_type} PRIMARY KEY, body text)".encode())
        add_index(connection, table, text=("body",), index="none")

    assert connection.execute(REG_COLUMNS, ["embedsql"]).fetchall() == []
    # the control: what the query finds where there are some
    connection.execute("CREATE SCHEMA control")
    connection.execute("CREATE TABLE control.bad (a regclass, b regconfig[], c text)")
    assert len(connection.execute(REG_COLUMNS, ["control"]).fetchall()) == 2


def test_an_upgraded_server_keeps_its_vectors_and_goes_on() -> None:
    with own_server() as old, own_server() as new:
        before, after = conninfo(old.url), conninfo(new.url)
        with connect(before) as connection:
            install(connection)
            create_article_table(connection)
            add_index(connection)
            connection.execute(
                "INSERT INTO article (title) SELECT 'text ' || n FROM generate_series(1, 50) n"
            )
        drain(before)
        with connect(before) as connection:
            connection.execute("UPDATE article SET title = 'late' WHERE id = 1")
            name = connection.info.dbname
        with psycopg.connect(after, dbname="postgres", autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name}".encode())  # it must be empty
        old.stop()
        new.stop()
        upgrade(old.status().data, new.status().data)
        new.start()

        assert verify_all(after).pending == 1
        assert drain(after).embedded == 1
        with connect(after) as connection:
            connection.execute("INSERT INTO article (id, title) VALUES (99, 'new')")
            connection.execute("DELETE FROM article WHERE id = 2")
        drain(after)
        assert verify_all(after).ok


def upgrade(old: Path, new: Path) -> None:
    """Both servers are stopped; the new one is empty."""
    account, options = server_account(), as_server_account()
    with tempfile.TemporaryDirectory(prefix="embedsql-upgrade-") as folder:
        scratch = Path(folder) / "scratch"
        Path(folder).chmod(0o755)
        account.make_private_folder(scratch)
        programs = binary_folder(account)
        run_program(
            "pg_upgrade",
            f"--old-bindir={programs}",
            f"--new-bindir={programs}",
            f"--old-datadir={old}",
            f"--new-datadir={new}",
            f"--socketdir={scratch}",
            "--username=postgres",
            **{**options, "cwd": scratch},
        )
