"""What the lexical weights are made of: titles, each row's language, the average length."""

from __future__ import annotations

import psycopg
import pytest

from embedsql.calibration import calibrate
from embedsql.errors import DeclarationError
from embedsql.registered import RegisteredSearch
from embedsql.registry import find_index
from embedsql.requeue import requeue_rows
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


LEXEMES = "SELECT key_1, chunk_seq, lexemes::text, terms::text FROM embedsql.article_search_chunk_1"


@pytest.mark.parametrize("text", [("body",), ("title", "body")])
def test_the_words_of_chunks_that_an_edit_leaves_are_not_found_again(
    connection: psycopg.Connection, database: str, text: tuple[str, ...]
) -> None:
    create_article_table(connection)
    paragraphs = [" ".join(f"word{place}x{n}" for n in range(150)) for place in range(4)]
    connection.execute(
        "INSERT INTO article (id, title, body) VALUES (1, 'one', %s)", ["\n\n".join(paragraphs)]
    )
    index = add_index(connection, text=text)
    drain(database)
    right = connection.execute(f"{LEXEMES} ORDER BY 1, 2".encode()).fetchall()
    assert len(right) > 3
    connection.execute("UPDATE embedsql.article_search_chunk_1 SET lexemes = 'a mark'")

    paragraphs[-1] += " more"
    connection.execute("UPDATE article SET body = %s", ["\n\n".join(paragraphs)])
    drain(database)

    marks = [found == "'a' 'mark'" for _, _, found, _ in connection.execute(LEXEMES.encode())]
    assert 1 < marks.count(True) < len(marks)
    requeue_rows(connection, index, None)
    drain(database)
    anew = connection.execute(f"{LEXEMES} ORDER BY 1, 2".encode()).fetchall()
    assert anew[1:-1] == right[1:-1]
    assert "'a' 'mark'" not in {found for _, _, found, _ in anew}


def test_a_title_that_gives_words_to_the_text_is_read_again(
    connection: psycopg.Connection, database: str
) -> None:
    create_article_table(connection)
    connection.execute(
        "INSERT INTO article (id, title, body) VALUES (1, E'amber\n\nbirch', 'cedar')"
    )
    index = add_index(connection)
    drain(database)
    before = connection.execute(LEXEMES.encode()).fetchall()

    connection.execute("UPDATE article SET title = 'amber', body = E'birch\n\ncedar'")
    drain(database)

    after = connection.execute(LEXEMES.encode()).fetchall()
    assert after != before
    requeue_rows(connection, index, None)
    drain(database)
    assert connection.execute(LEXEMES.encode()).fetchall() == after


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


def test_an_edit_that_changes_no_chunk_tells_no_average_length(
    connection: psycopg.Connection, database: str
) -> None:
    create_article_table(connection)
    connection.execute("INSERT INTO article (id, body) VALUES (1, 'amber birch cedar')")
    add_index(connection, text=("body",))
    drain(database)
    average = "SELECT average_length FROM embedsql.semantic_index"
    assert connection.execute(average).fetchone() == (3,)
    connection.execute("UPDATE embedsql.semantic_index SET average_length = NULL")

    connection.execute("UPDATE article SET body = body || ' '")
    drain(database)

    assert connection.execute(average).fetchone() in [(3,), (None,)]
