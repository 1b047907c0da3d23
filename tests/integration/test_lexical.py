"""The lexical lane on real rows: exact BM25, the question's syntax, its plans."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Text
from sqlalchemy.engine import Engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from embedsql import SearchTuning, SemanticIndex
from embedsql.search import Hit, Mode
from tests.factories import add_index, create_article_table, drain

K1, B = 1.2, 0.75


class Base(DeclarativeBase):
    pass


class Article(Base):
    __tablename__ = "article"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    tenant_id: Mapped[int]
    body: Mapped[str] = mapped_column(Text)


articles = SemanticIndex("article_search", Article, text="body", model="hash:64", lexical="simple")


def fill(connection: psycopg.Connection, database: str, bodies: Sequence[str], **spec: Any) -> None:
    create_article_table(connection)
    with connection.cursor() as cursor, cursor.copy("COPY article (id, body) FROM STDIN") as copy:
        for row in enumerate(bodies):
            copy.write_row(row)
    add_index(connection, text=("body",), **({"lexical": "simple"} | spec))
    drain(database, batch_size=2000)


def search(
    engine: Engine, text: str, mode: Mode = "lexical", limit: int = 10, **options: Any
) -> list[tuple[int, Hit]]:
    with Session(engine) as session:
        found = session.execute(articles.search(text, mode=mode, limit=limit, **options))
        return [(article.id, hit) for article, hit in found]


def ids(engine: Engine, text: str, mode: Mode = "lexical", **options: Any) -> list[int]:
    return [id_ for id_, _ in search(engine, text, mode, **options)]


def bm25(
    bodies: Sequence[str], question: str, average: float, total: float | None = None
) -> dict[int, float]:
    """BM25 by the book; of so many texts in ``total``, if not as many as there are."""
    total = total or len(bodies)
    documents = [Counter(body.split()) for body in bodies]
    scores: dict[int, float] = {}
    for word, times in Counter(question.split()).items():
        frequency = sum(word in document for document in documents)
        idf = math.log(1 + (total - frequency + 0.5) / (frequency + 0.5))
        for place, document in enumerate(documents):
            if tf := document[word]:
                length = sum(document.values())
                weight = tf * (K1 + 1) / (tf + K1 * (1 - B + B * length / average))
                scores[place] = scores.get(place, 0) + times * idf * weight
    return scores


@pytest.fixture
def zipf(connection: psycopg.Connection, database: str) -> list[str]:
    """Texts of words as unevenly frequent as real ones: w1 in nearly every second text."""
    chance = random.Random(7)
    words = [f"w{rank}" for rank in range(1, 400)]
    weights = [1 / rank for rank in range(1, 400)]
    bodies = [
        " ".join(chance.choices(words, weights, k=chance.randint(3, 30))) for _ in range(3000)
    ]
    fill(connection, database, bodies)
    return bodies


@pytest.mark.parametrize(
    "analyzed",
    [
        pytest.param(True, id="analyzed"),
        pytest.param(False, id="never analyzed", marks=pytest.mark.exhaustive),
    ],
)
def test_the_best_rows_are_those_of_bm25_by_the_book(
    zipf: list[str],
    connection: psycopg.Connection,
    sqlalchemy_engine: Engine,
    analyzed: bool,
) -> None:
    if analyzed:
        connection.execute("VACUUM ANALYZE")
    else:
        connection.execute("DELETE FROM pg_statistic WHERE starelid::regclass::text ~ 'chunk_1$'")
        connection.execute(
            "UPDATE pg_class SET reltuples = -1 WHERE relname = 'article_search_chunk_1'"
        )
    row = connection.execute(
        "SELECT average_length, embedsql.estimated_chunks(chunk_table) FROM embedsql.semantic_index"
    ).fetchone()
    assert row is not None
    average, total = row
    # reckoned from the first pages where nobody analyzed; some pages may be empty yet
    assert total == pytest.approx(len(zipf), rel=1e-6 if analyzed else 0.25)
    chance = random.Random(3)
    for _ in range(25):
        question = " ".join(f"w{chance.choice((1, 2, 5, 20, 90, 300, 399))}" for _ in range(4))
        expected = bm25(zipf, question, average, total)
        best = sorted(expected.values(), reverse=True)[:10]
        found = search(sqlalchemy_engine, question)
        assert [hit.score for _, hit in found] == pytest.approx(best, rel=1e-4)
        for id_, hit in found:
            assert hit.bm25 == pytest.approx(expected[id_], rel=1e-4)


@pytest.mark.exhaustive
def test_a_filter_holds_inside_the_lane_and_the_rows_are_still_the_best(
    zipf: list[str], connection: psycopg.Connection, sqlalchemy_engine: Engine
) -> None:
    connection.execute("VACUUM ANALYZE")
    connection.execute("UPDATE article SET tenant_id = 1 + id % 100")
    row = connection.execute("SELECT average_length FROM embedsql.semantic_index").fetchone()
    assert row is not None
    for question in ("w1 w2", "w399 w1", "w90 w5 w2"):
        expected = bm25(zipf, question, row[0])
        mine = sorted((score for id_, score in expected.items() if id_ % 100 == 6), reverse=True)
        found = search(sqlalchemy_engine, question, where=[Article.tenant_id == 7])
        assert [hit.score for _, hit in found] == pytest.approx(mine[:10], rel=1e-4)


def test_rows_of_many_chunks_take_no_places_of_others(
    connection: psycopg.Connection, database: str, sqlalchemy_engine: Engine
) -> None:
    long = "\n\n".join("amber amber amber birch " * 30 for _ in range(60))
    fill(connection, database, [long, *(f"amber cedar n{n}" for n in range(30))])
    found = ids(sqlalchemy_engine, "amber", limit=20)
    assert len(found) == len(set(found)) == 20


SYNTAX = [
    "red apple pie",  # 0
    "apple red tart",  # 1
    "green apple",  # 2
    "red brick wall",  # 3
    "blue sky",  # 4
]


@pytest.fixture
def fruit(connection: psycopg.Connection, database: str) -> None:
    fill(connection, database, SYNTAX)


def test_what_must_match_and_what_must_not(fruit: None, sqlalchemy_engine: Engine) -> None:
    for question, expected in [
        ("red apple", {0, 1, 2, 3}),
        ('"red apple"', {0}),
        ('+"red apple" sky', {0}),
        ("+red apple", {0, 1, 3}),
        ("+red +apple", {0, 1}),
        ("red -apple", {3}),
        ('apple -"red apple"', {1, 2}),
        ("+sky -red", {4}),
        ("red-apple", {0, 1, 2, 3}),
        ("-red", set()),
        ("+nowhere red", set()),
        ("apple - 5 -7", {0, 1, 2}),
    ]:
        assert set(ids(sqlalchemy_engine, question)) == expected, question


@pytest.mark.parametrize("mode", ["dense", "hybrid"])
def test_the_dense_lane_keeps_to_it_too(fruit: None, sqlalchemy_engine: Engine, mode: Mode) -> None:
    for question, expected in [
        ("red -apple", {3, 4}),
        ("+red", {0, 1, 3}),
        ('"red apple"', {0}),
        ('-"red apple" -sky', {1, 2, 3}),
        ("apple", {0, 1, 2, 3, 4}),
    ]:
        assert set(ids(sqlalchemy_engine, question, mode)) == expected, question


def test_what_one_chunk_of_a_row_contains_excludes_the_row(
    connection: psycopg.Connection, database: str, sqlalchemy_engine: Engine
) -> None:
    long = "\n\n".join(["amber word " * 60] * 5 + ["birch here"])
    fill(connection, database, [long, "amber alone"])
    for mode in ("lexical", "dense", "hybrid"):
        assert ids(sqlalchemy_engine, "amber -birch", mode) == [1]


def test_no_text_raises(fruit: None, sqlalchemy_engine: Engine) -> None:
    for question in [
        "red\0apple",
        "red \ud83d apple",
        "red & | ! :* <-> ( ' \\ apple",
        '" "" """ + - +" -" red apple',
        "'; DROP TABLE article; -- red apple",
        "تفاح red apple ‮",
        "red apple " * 5000,
        " ".join(f"x{n}" for n in range(10_000)) + " red apple",
        "red apple " + "y" * 1_000_000,
    ]:
        assert isinstance(ids(sqlalchemy_engine, question, "hybrid"), list)
        if len(question) < 100:
            assert {0, 1} <= set(ids(sqlalchemy_engine, question.replace('"', " "))), question


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(st.sampled_from("ab +-\"'\\&|!:*()<>\0\ud800é\n\t.0_/#"), max_size=40))
def test_no_combination_of_signs_raises(fruit: None, sqlalchemy_engine: Engine, text: str) -> None:
    assert isinstance(ids(sqlalchemy_engine, f"red {text}"), list)


def test_of_stop_words_alone_only_the_dense_lane_knows_something(
    connection: psycopg.Connection, database: str, sqlalchemy_engine: Engine
) -> None:
    fill(connection, database, SYNTAX, lexical="english")
    english = SemanticIndex("article_search", Article, text="body", model="hash:64")
    with Session(sqlalchemy_engine) as session:
        assert session.execute(english.search("the of and", mode="lexical")).all() == []
        rows = session.execute(english.search("the of and")).all()
    assert len(rows) == len(SYNTAX)
    assert all(hit.lexical_rank is None for _, hit in rows)


@pytest.mark.exhaustive
def test_large_table_is_never_read_whole(
    connection: psycopg.Connection, database: str, sqlalchemy_engine: Engine
) -> None:
    fill(connection, database, [f"common t{n % 50} u{n}" for n in range(6000)])
    connection.execute("VACUUM ANALYZE")
    both: tuple[Mode, ...] = ("lexical", "hybrid")
    # what is excluded of meaning alone is the planner's choice: at this size, the whole table
    cases: list[tuple[str, int, tuple[Mode, ...]]] = [
        ("u17 common", 10, both),
        ("common t3", 300, both),
        ("u5 -t3 common", 10, ("lexical",)),
    ]
    for question, limit, modes in cases:
        for mode in modes:
            statement = articles.search(question, mode=mode, limit=limit)
            with Session(sqlalchemy_engine) as session:
                compiled = statement.compile(session.bind)
                explain = session.connection().exec_driver_sql(
                    f"EXPLAIN ANALYZE {compiled}", dict(compiled.params)
                )
                plan = "\n".join(row[0] for row in explain)
            assert "Bitmap Index Scan on article_search_chunk_1_lexemes" in plan, plan
            whole = [
                line
                for line in plan.splitlines()
                if "Seq Scan on article" in line and "never executed" not in line
            ]
            assert not whole, plan


def test_a_rare_word_keeps_the_common_one_from_being_read(
    connection: psycopg.Connection, database: str
) -> None:
    fill(connection, database, [f"common t{n % 50} rare{n // 20}" for n in range(6000)])
    connection.execute("VACUUM ANALYZE")
    row = connection.execute(
        "SELECT q.probe::text, embedsql.bm25_beyond(q.terms, q.bounds, q.probed, NULL, 6)::text "
        "FROM embedsql.bm25_question('article_search', 'simple', 'common rare3', 2) AS q"
    ).fetchone()
    assert row == ("'rare3'", None)


def test_the_reciprocal_and_the_convex_fusion_are_to_be_had(
    fruit: None, sqlalchemy_engine: Engine
) -> None:
    for fusion in ("rrf", "convex", "calibrated"):
        found = search(sqlalchemy_engine, "red apple", "hybrid", tuning=SearchTuning(fusion=fusion))
        assert {id_ for id_, _ in found} == set(range(5))
        assert [hit.score for _, hit in found] == sorted(
            (hit.score for _, hit in found), reverse=True
        )
