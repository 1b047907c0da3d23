"""What the server sends of a source row, whatever stands at its ends and however it is encoded."""

from __future__ import annotations

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from embedsql.database import connect
from embedsql.inputs import Inputs
from embedsql.key import KeyColumn
from embedsql.spec import IndexSpec

MOST = 100
WHITE_SPACE = " \t\n\r\f\x0b"
ENDS = ["", " ", "\t", "\n\n", "\r", "\f", "\x0b", " \x01", "\x01", "é", "漢", "a", "漢 "]
MIDDLES = ["", "b", "漢字 b", "b" * (MOST - 1), "漢" * MOST, "b" * MOST * 3, " " * MOST]
TEXTS = [f"{end}{middle}{end}" for end in ENDS for middle in MIDDLES]


def text_of(connection: psycopg.Connection, body: str | None) -> str:
    spec = IndexSpec(
        name="article_search",
        table="article",
        schema="public",
        key=(KeyColumn("id", "bigint"),),
        text=("body",),
        model="hash:64",
        dimensions=64,
        max_characters=MOST,
    )
    statement = sql.SQL("SELECT {} FROM (VALUES (%(body)s::text)) AS s (body)")
    row = connection.execute(statement.format(Inputs(spec).text), {"body": body}).fetchone()
    assert row is not None
    return str(row[0])


def test_white_space_at_the_ends_is_left_out(connection: psycopg.Connection) -> None:
    for body in TEXTS:
        assert text_of(connection, body) == body[:MOST].strip(WHITE_SPACE), repr(body)
    assert text_of(connection, None) == ""


def test_a_database_may_have_another_encoding(server: str) -> None:
    name = sql.Identifier("test_euc_jp")
    create = "CREATE DATABASE {} TEMPLATE template0 ENCODING 'EUC_JP' LOCALE 'C'"
    with connect(server) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(name))
        connection.execute(sql.SQL(create).format(name))
        try:
            with connect(make_conninfo(server, dbname="test_euc_jp")) as japanese:
                japanese.execute("SET client_encoding = 'UTF8'")
                for body in ("漢字", " 漢字 ", "漢" * MOST * 2, "漢字\n"):
                    assert text_of(japanese, body) == body[:MOST].strip(WHITE_SPACE)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
