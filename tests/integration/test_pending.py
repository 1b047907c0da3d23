"""Rows that no worker has seen yet: the lexical lane finds them by the words they have now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from sqlalchemy import BigInteger, Text, text
from sqlalchemy.engine import Engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from typer.testing import CliRunner

from embedsql import SearchTuning, SemanticIndex
from embedsql.cli import app
from embedsql.explain import RowExplanation
from embedsql.reembed import ModelChange
from embedsql.registered import RegisteredSearch
from embedsql.search import Hit, Mode
from embedsql.sqlsearch.pending import MOST_ROWS
from tests.factories import add_index, create_article_table, drain


class Base(DeclarativeBase):
    pass


class Article(Base):
    __tablename__ = "article"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    tenant_id: Mapped[int]
    title: Mapped[str | None] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)


articles = SemanticIndex("article_search", Article, text=("title", "body"), model="hash:64")

EMBEDDED = ["the cat sat on the mat", "a dog barks at night", "the bank of the river", "a cat naps"]


@pytest.fixture
def settled(connection: psycopg.Connection, database: str) -> None:
    """Four embedded rows, 1 to 4; whatever is written after them waits."""
    create_article_table(connection)
    for place, body in enumerate(EMBEDDED, 1):
        connection.execute("INSERT INTO article (id, body) VALUES (%s, %s)", [place, body])
    add_index(connection)
    drain(database)


def write(connection: psycopg.Connection, key: int, body: str | None, **values: Any) -> None:
    connection.execute(
        "INSERT INTO article (id, tenant_id, title, body) VALUES (%s, %s, %s, %s) "
        "ON CONFLICT (id) DO UPDATE SET body = EXCLUDED.body, title = EXCLUDED.title",
        [key, values.get("tenant_id", 1), values.get("title"), body],
    )


def search(engine: Engine, words: str, mode: Mode = "lexical", **options: Any) -> dict[int, Hit]:
    with Session(engine) as session:
        found = session.execute(articles.search(words, mode=mode, **options))
        return {article.id: hit for article, hit in found}


@pytest.mark.usefixtures("settled")
def test_a_row_is_found_before_it_is_embedded(
    connection: psycopg.Connection, sqlalchemy_engine: Engine, database: str
) -> None:
    write(connection, 5, "error ORA-31415 in the ledger")
    for words in ("ORA-31415", "31415", "ledgers"):
        found = search(sqlalchemy_engine, words)
        assert list(found) == [5], words
        hit = found[5]
        assert hit.pending
        assert hit.snippet == "error ORA-31415 in the ledger"
        assert hit.lexical_rank == 1
    both = search(sqlalchemy_engine, "the ledger", "hybrid")
    assert both[5].pending
    assert both[5].similarity is None
    assert search(sqlalchemy_engine, "ledger", tuning=SearchTuning(pending=False)) == {}

    drain(database)
    hit = search(sqlalchemy_engine, "ledger")[5]
    assert not hit.pending
    assert search(sqlalchemy_engine, "the ledger", "hybrid")[5].similarity is not None


@pytest.mark.usefixtures("settled")
def test_a_changed_row_is_found_by_its_new_words_and_not_by_its_old(
    connection: psycopg.Connection, sqlalchemy_engine: Engine
) -> None:
    write(connection, 1, "a parrot in the tree")
    write(connection, 3, None)
    connection.execute("DELETE FROM article WHERE id = 4")
    assert list(search(sqlalchemy_engine, "parrot")) == [1]
    assert search(sqlalchemy_engine, "cat") == {}
    assert search(sqlalchemy_engine, "river") == {}
    hit = search(sqlalchemy_engine, "parrot", "hybrid")[1]
    # its vector is still the old one, which is known
    assert hit.pending
    assert hit.similarity is not None
    assert hit.snippet == "a parrot in the tree"


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    ("words", "options", "expected"),
    [
        ("parrot", {}, [5, 6]),
        ("parrot +green", {}, [5]),
        ("parrot -green", {}, [6]),
        ('"green parrot"', {}, [5]),
        ('"parrot green"', {}, []),
        ("parrot", {"where": [Article.tenant_id == 2]}, [6]),
        ("parrot", {"limit": 1}, [5]),
    ],
)
def test_what_the_question_asks_holds_for_rows_that_wait(
    connection: psycopg.Connection,
    sqlalchemy_engine: Engine,
    words: str,
    options: dict[str, Any],
    expected: Sequence[int],
) -> None:
    write(connection, 5, "a green parrot")
    write(connection, 6, "a red parrot and some more words", tenant_id=2)
    assert list(search(sqlalchemy_engine, words, **options)) == expected


@pytest.mark.usefixtures("settled")
def test_shapes_take_rows_that_wait(
    connection: psycopg.Connection, sqlalchemy_engine: Engine
) -> None:
    write(connection, 5, "a green <b>parrot</b> and a cat")
    for options in ({"diversity": 0.5}, {"neighbours": 1}, {"highlight": True}):
        hit = search(sqlalchemy_engine, "parrot cat", "hybrid", **options)[5]
        assert hit.pending
    assert hit.highlight is not None
    assert "<mark>parrot</mark>" in hit.highlight
    assert "<b>" not in hit.highlight
    passage = search(sqlalchemy_engine, "parrot", neighbours=1)[5].passage
    assert passage == "a green <b>parrot</b> and a cat"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"heading_weight": 5.0},
        {"template": "{title}: {chunk}"},
        {"text": ("body",)},
        {"lexical": "simple"},
        {"lexical": "english", "lexical_column": "title"},
    ],
)
@pytest.mark.exhaustive
def test_they_weigh_as_they_will_when_embedded(
    connection: psycopg.Connection, database: str, options: dict[str, Any]
) -> None:
    create_article_table(connection)
    add_index(connection, **options)
    write(connection, 1, "first of all, to know the average length", title="Beginning")
    drain(database)
    for key, title in ((2, "simple"), (3, "german"), (4, "A House, v1.2.3"), (5, None)):
        write(connection, key, "Häuser and houses, foo.bar_baz() of PROJ-4711", title=title)
    asked = "SELECT key_1, lexemes::text, terms::text FROM {} WHERE key_1 > 1 ORDER BY 1"
    waiting = connection.execute(asked.format("embedsql.article_search_pending()").encode())
    before = waiting.fetchall()
    drain(database)
    assert len(before) == 4
    after = connection.execute(asked.format("embedsql.article_search_chunk").encode()).fetchall()
    assert before == after
    assert not connection.execute("SELECT FROM embedsql.article_search_pending()").fetchall()


@pytest.mark.usefixtures("settled")
def test_a_changed_row_is_not_held_to_the_meaning_of_its_earlier_text(
    connection: psycopg.Connection, sqlalchemy_engine: Engine
) -> None:
    before = search(sqlalchemy_engine, "cat ledger", "dense")
    least = min(before, key=lambda key: before[key].similarity or 0.0)
    write(connection, least, "quagga ledger")
    write(connection, 5, "quagga ledger")

    found = search(sqlalchemy_engine, "cat ledger", "hybrid")

    assert found[least].pending
    assert found[5].pending
    assert found[least].score == pytest.approx(found[5].score)


@pytest.mark.usefixtures("settled")
def test_no_more_than_the_last_are_read(
    connection: psycopg.Connection, sqlalchemy_engine: Engine
) -> None:
    many = MOST_ROWS + 20
    for key in range(100, 100 + many):
        write(connection, key, f"parrot number {key}")
    write(connection, 100, "parrot number one, again")
    found = search(sqlalchemy_engine, "parrot", limit=1000)
    assert set(found) == {100, *range(100 + many - MOST_ROWS + 1, 100 + many)}


@pytest.mark.usefixtures("settled")
def test_the_function_and_the_command_line_find_them(
    connection: psycopg.Connection, database: str
) -> None:
    write(connection, 5, "a green parrot")
    (row,) = connection.execute(
        "SELECT id, pending, snippet FROM article_search('parrot', mode => 'lexical')"
    ).fetchall()
    assert row == (5, True, "a green parrot")
    with RegisteredSearch(database, "article_search") as searcher:
        ((key, hit),) = searcher.search("parrot", mode="lexical").hits
        assert (key, hit.pending) == (5, True)
        explained = searcher.explain("parrot cat", key=5)
    assert isinstance(explained.row, RowExplanation)
    assert explained.row.shown
    assert {reason.code for reason in explained.row.reasons} == {"queued"}


@pytest.mark.usefixtures("settled")
def test_a_source_that_changed_its_columns_is_still_searched(
    connection: psycopg.Connection, sqlalchemy_engine: Engine
) -> None:
    write(connection, 5, "a green parrot")
    connection.execute("ALTER TABLE article RENAME COLUMN body TO words")
    with Session(sqlalchemy_engine) as session:
        statement = articles.search("cat", mode="lexical").with_only_columns(Article.id)
        assert session.scalars(statement).all() == [4, 1]


@pytest.mark.usefixtures("settled")
def test_they_are_seen_as_the_policies_of_the_source_say(
    connection: psycopg.Connection, database: str, sqlalchemy_engine: Engine
) -> None:
    write(connection, 5, "a green parrot", tenant_id=1)
    write(connection, 6, "a red parrot", tenant_id=2)
    role = "tenant_of_pending"
    connection.execute("ALTER TABLE article ENABLE ROW LEVEL SECURITY")
    connection.execute("CREATE POLICY own ON article USING (tenant_id = 2)")
    connection.execute(f"CREATE ROLE {role}")
    try:
        granted = CliRunner().invoke(app, ["grant", "search", role, "--database-url", database])
        assert granted.exit_code == 0, granted.output
        with Session(sqlalchemy_engine) as session:
            session.execute(text(f"SET LOCAL ROLE {role}"))
            statement = articles.search("parrot", mode="lexical").with_only_columns(Article.id)
            assert session.scalars(statement).all() == [6]
            logged = session.execute(text("SELECT key_1 FROM embedsql.article_search_log"))
            assert logged.scalars().all() == [6]
    finally:
        connection.execute(f"DROP OWNED BY {role}")
        connection.execute(f"DROP ROLE {role}")


@pytest.mark.usefixtures("settled")
def test_they_follow_the_generation_that_serves(
    connection: psycopg.Connection, database: str, sqlalchemy_engine: Engine
) -> None:
    with ModelChange(database, "article_search") as change:
        spec = change.generations.serving.spec
        change.begin(type(spec)(**{**vars(spec), "dimensions": 32, "model": "hash:32"}))
        drain(database)
        change.accept()
        change.switch()
    write(connection, 5, "a green parrot")
    log = connection.execute("SELECT key_1 FROM embedsql.article_search_log_2").fetchall()
    assert log == [(5,)]
    connection.execute("DELETE FROM embedsql.article_search_log")
    assert connection.execute("SELECT key_1 FROM embedsql.article_search_pending()").fetchall() == [
        (5,)
    ]
