"""Whatever a user types, a search answers: never an error of the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedsql.database import connect
from embedsql.errors import QueryError
from embedsql.registered import RegisteredSearch
from tests.everyday import cases
from tests.factories import add_index, create_article_table, drain

NASTY = [
    "((",
    "'",
    "a & & b",
    "foo:*:'",
    "\\",
    "!!!",
    "<-> <2>",
    '"unclosed',
    "-- drop",
    "%s %(x)s %",
    "{} {0}",
    ":name ::text",
    "שלום עולם",
    "😀" * 50,
    "a\u0301\u0327",
    "x" * 9000,
    "word " * 1900,
    "the of and",
    "\t\n x",
    "a\0b",
    "\ud800",
]


@pytest.fixture
def searcher(connection: psycopg.Connection, database: str) -> Iterator[RegisteredSearch]:
    create_article_table(connection)
    connection.execute("INSERT INTO article (body) VALUES ('it''s a \\ back-slash & more'), ('x')")
    add_index(connection)
    drain(database)
    with RegisteredSearch(database, "article_search") as opened:
        yield opened


@pytest.mark.parametrize("text", cases(NASTY, *list(NASTY)[::3]))
@pytest.mark.exhaustive
def test_nasty_text_is_searched(searcher: RegisteredSearch, text: str) -> None:
    assert len(searcher.search(text).hits) == 2


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=200)
)
def test_any_text_is_searched_or_refused_as_empty(searcher: RegisteredSearch, text: str) -> None:
    if not text.strip():
        with pytest.raises(QueryError):
            searcher.search(text)
        return
    for mode in ("hybrid", "lexical"):
        searcher.search(text, mode=mode)


@pytest.mark.parametrize("text", ["", "  \n", "\u2028\u2029", "\0", "y" * 2_000_000])
def test_impossible_text_is_refused(searcher: RegisteredSearch, text: str) -> None:
    with pytest.raises(QueryError):
        searcher.search(text)


def test_hostile_names_are_searched(new_database: Callable[..., str], template: str) -> None:
    database = new_database(template)
    table, column, key = 'T"; --', "te%xt {} :x", "I d"
    with connect(database) as connection:
        connection.execute(
            'CREATE TABLE "T""; --" ("I d" text, "key 2" int, "te%xt {} :x" text, '
            'PRIMARY KEY ("I d", "key 2"))'
        )
        connection.execute("""INSERT INTO "T""; --" VALUES ('a', 1, 'amber'), ('a', 2, 'birch')""")
        add_index(connection, table, (column,), name="i%s{}\"';--")
    drain(database)
    with RegisteredSearch(database, "i%s{}\"';--") as searcher:
        found = searcher.search("birch", where='"key 2" > 0')
    assert found.hits[0][0] == {key: "a", "key 2": 2}
