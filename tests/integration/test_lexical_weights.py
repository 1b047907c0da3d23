"""What the lexical weights are made of: titles, each row's language, the average length."""

from __future__ import annotations

import psycopg
import pytest

from embedsql.calibration import calibrate
from embedsql.errors import DeclarationError
from embedsql.registered import RegisteredSearch
from embedsql.registry import find_index
from tests.factories import add_index, create_article_table, drain


def lexical(database: str, question: str) -> list[int]:
    with RegisteredSearch(database, "article_search") as searcher:
        return [key for key, _ in searcher.search(question, mode="lexical").hits]


def test_a_word_of_the_title_counts_more(connection: psycopg.Connection, database: str) -> None:
    create_article_table(connection)
    connection.execute(
        "INSERT INTO article (id, title, body) VALUES "
        "(1, 'birch cedar', 'amber lies in the sand'), (2, 'amber', 'birch cedar lie in the sand')"
    )
    add_index(connection)
    drain(database)
    assert lexical(database, "amber") == [2, 1]
    assert lexical(database, "birch") == [1, 2]


def test_each_row_is_read_in_its_own_language(
    connection: psycopg.Connection, database: str
) -> None:
    create_article_table(connection)
    connection.execute("ALTER TABLE article ADD COLUMN language text")
    connection.execute(
        "INSERT INTO article (id, body, language) VALUES (1, 'die Häuser am Meer', 'german'), "
        "(2, 'the houses by the sea', 'english'), (3, 'houses', 'klingon'), (4, 'houses', NULL)"
    )
    add_index(connection, text=("body",), lexical="simple", lexical_column="language")
    drain(database)
    assert lexical(database, "Haus") == [1]
    assert lexical(database, "house") == [2]
    assert set(lexical(database, "houses")) == {2, 3, 4}

    connection.execute("UPDATE article SET language = 'english' WHERE id = 4")
    drain(database)
    assert set(lexical(database, "house")) == {2, 4}


def test_a_language_column_must_be_there(connection: psycopg.Connection) -> None:
    create_article_table(connection)
    with pytest.raises(DeclarationError, match="no column 'language'"):
        add_index(connection, lexical_column="language")


def test_weights_are_made_again_where_the_average_length_was_off(
    connection: psycopg.Connection, database: str
) -> None:
    create_article_table(connection)
    connection.execute(
        "INSERT INTO article (body) SELECT repeat('amber birch ', n) || n "
        "FROM generate_series(1, 40) AS n"
    )
    index = add_index(connection, text=("body",))
    drain(database)
    weights = (
        "SELECT key_1, chunk_seq, terms::text FROM embedsql.article_search_chunk ORDER BY 1, 2"
    )
    right = connection.execute(weights).fetchall()
    connection.execute(
        "UPDATE embedsql.article_search_chunk_1 SET terms = embedsql.bm25_weights(lexemes, 3, 3)"
    )
    connection.execute("UPDATE embedsql.semantic_index SET average_length = 3")
    assert connection.execute(weights).fetchall() != right

    found = calibrate(connection, find_index(connection, index.spec.name))

    assert found.length is not None
    kept = connection.execute("SELECT average_length FROM embedsql.semantic_index").fetchone()
    assert kept == (found.length,)
    expected = connection.execute(
        "SELECT key_1, chunk_seq, embedsql.bm25_weights(lexemes, %s, 3)::text "
        "FROM embedsql.article_search_chunk ORDER BY 1, 2",
        [found.length],
    ).fetchall()
    assert connection.execute(weights).fetchall() == expected


def test_a_text_may_have_more_words_than_a_weight_vector_holds(
    connection: psycopg.Connection, database: str
) -> None:
    create_article_table(connection)
    words = " ".join(f"w{number}x" for number in range(17_000))
    connection.execute("INSERT INTO article (id, body) VALUES (1, %s)", [f"{words} amber amber"])
    add_index(connection, chunking=None)
    report = drain(database)
    assert (report.saved, report.failed) == (1, 0)
    assert lexical(database, "amber") == [1]
