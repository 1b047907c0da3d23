"""Vectors in a column of the source come and go with their rows, whatever is stored of the key."""

from __future__ import annotations

import psycopg
import pytest

from embedsql.embedders.hashing import HashEmbedder
from tests.factories import add_index, create_article_table, drain, verify_all

REPLACED = {
    "deleted and inserted": [
        "DELETE FROM article WHERE id = 1",
        "INSERT INTO article (id, body) VALUES (1, 'one')",
    ],
    "another row with its key and text": [
        "DELETE FROM article WHERE id = 1",
        "UPDATE article SET id = 1, body = 'one' WHERE id = 2",
    ],
}


@pytest.mark.parametrize("replaced", REPLACED.values(), ids=list(REPLACED))
def test_a_row_that_takes_the_place_of_one_that_said_the_same_has_its_vector(
    connection: psycopg.Connection, database: str, replaced: list[str]
) -> None:
    create_article_table(connection)
    add_index(connection, text=("body",), storage="column", chunking=None)
    connection.execute("INSERT INTO article (id, body) VALUES (1, 'one'), (2, 'two')")
    drain(database)
    with connection.transaction():
        for statement in replaced:
            connection.execute(statement.encode())

    drain(database)

    (vector,) = HashEmbedder("hash:64").embed_documents(["one"])
    found = connection.execute(
        "SELECT embedding <-> %s::vector < 0.001 FROM article WHERE id = 1", [str(vector.tolist())]
    )
    assert found.fetchall() == [(True,)]
    assert verify_all(database).ok
