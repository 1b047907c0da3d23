from __future__ import annotations

import psycopg

from tests.factories import add_index, create_article_table, drain, verify_all


def test_drain_embeds_the_rows_that_exist(connection: psycopg.Connection, database: str) -> None:
    create_article_table(connection)
    connection.execute("INSERT INTO article (title, body) VALUES ('one', 'two'), ('', ' ')")
    add_index(connection)

    report = drain(database)

    assert report.saved == 2
    assert connection.execute("SELECT id, chunk FROM article_search").fetchall() == [
        (1, "one\n\ntwo")
    ]
    assert verify_all(database).ok
