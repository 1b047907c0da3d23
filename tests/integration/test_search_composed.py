"""A search inside a statement of the caller's own, and one after the other on one engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest
from sqlalchemy import BigInteger, Engine, ForeignKey, func, select, union_all
from sqlalchemy.exc import SAWarning
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    aliased,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
    with_loader_criteria,
)

from embedsql import SemanticIndex
from embedsql.search import Hit, Mode
from tests.everyday import cases
from tests.factories import add_index, create_article_table, drain

WORDS = "amber birch cedar delta ember flint grove heath ivory jetty karst larch mango".split()
MODES: tuple[Mode, ...] = ("hybrid", "dense", "lexical")


class Base(DeclarativeBase):
    type_annotation_map = {int: BigInteger}


class Article(Base):
    __tablename__ = "article"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int]
    title: Mapped[str | None]
    body: Mapped[str | None]
    notes: Mapped[list[Note]] = relationship(order_by="Note.id")


class Note(Base):
    __tablename__ = "note"

    id: Mapped[int] = mapped_column(primary_key=True)
    article_id: Mapped[int] = mapped_column(ForeignKey(Article.id))


article_search = SemanticIndex("article_search", Article, text=("title", "body"), model="hash:64")


@pytest.fixture
def articles(connection: psycopg.Connection, database: str) -> None:
    """300 articles of a few words, 6 a tenant, embedded and indexed; two notes on each."""
    random = np.random.default_rng(3)
    create_article_table(connection)
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO article (tenant_id, body) VALUES (%s, %s)",
            [(n % 50, " ".join(random.choice(WORDS, 6))) for n in range(300)],
        )
    connection.execute(
        "CREATE TABLE note (id bigserial PRIMARY KEY, article_id bigint NOT NULL);"
        "INSERT INTO note (article_id) SELECT id FROM article, generate_series(1, 2)"
    )
    add_index(connection)
    drain(database)
    connection.execute("VACUUM ANALYZE article")


SEARCHES: list[dict[str, Any]] = [
    {"text": "amber birch"},
    {"text": "cedar mango larch"},
    {"text": "cedar -mango"},
    {"text": '"amber birch"'},
    {"text": "amber birch", "limit": 3},
    {"text": "amber birch", "limit": 3, "offset": 4},
    {"text": "amber birch", "offset": 9},
    {"text": "amber birch", "where": [Article.tenant_id == 4]},
    {"text": "amber birch", "where": [Article.tenant_id == 5]},
    {"text": "amber birch", "where": [Article.tenant_id.in_([1, 2, 3])]},
    {"text": "grove", "where": [Article.tenant_id < 9, Article.id > 50]},
    {"text": "grove", "where": [Article.tenant_id < 20, Article.id > 10]},
    {"text": "grove", "where": [select(Note.id).where(Note.article_id == Article.id).exists()]},
    {"text": "amber", "boosts": [Article.tenant_id / 10.0]},
    {"text": "amber", "boosts": [Article.tenant_id / 50.0]},
    {"text": "amber", "group_by": Article.tenant_id},
    {"text": "amber", "group_by": Article.tenant_id, "per_group": 2},
    {"text": "amber", "min_score": 0.5},
    {"text": "amber", "min_score": 1.5},
    {"text": "amber", "min_support": 0.5},
    {"text": "amber", "min_support": 1.0},
    {"text": "amber", "diversity": 0.5},
    {"text": "amber", "autocut": True},
    {"text": "amber", "after": (1.0, 7)},
    {"text": "amber", "after": (0.5, 90)},
    {
        "text": "birch",
        "joins": [(Note, Note.article_id == Article.id)],
        "where": [Note.id % 2 == 0],
    },
]


@pytest.mark.exhaustive
@pytest.mark.parametrize("mode", cases(MODES, "hybrid"))
def test_a_statement_compiled_for_another_search_gives_the_same_rows(
    articles: None, sqlalchemy_engine: Engine, mode: Mode
) -> None:
    def found(on: Engine, options: dict[str, Any]) -> list[tuple[int, Hit]]:
        with Session(on) as session:
            rows = session.execute(article_search.search(**options, mode=mode)).all()
        return [(article.id, hit) for article, hit in rows]

    fresh = sqlalchemy_engine.execution_options(compiled_cache=None)
    due = [found(fresh, options) for options in SEARCHES]
    for _ in range(2):  # the second time, all are compiled already
        assert [found(sqlalchemy_engine, options) for options in SEARCHES] == due
    for rows, options in zip(due, SEARCHES, strict=True):
        assert rows or options.keys() & {"min_score", "min_support", "after"}


@pytest.mark.parametrize("mode", MODES)
def test_criteria_of_the_session_hold_inside_the_lanes(
    articles: None, sqlalchemy_engine: Engine, mode: Mode
) -> None:
    for tenant in (7, 8):
        statement = article_search.search("amber birch cedar delta", mode=mode).options(
            with_loader_criteria(Article, Article.tenant_id == tenant)
        )
        with Session(sqlalchemy_engine) as session:
            found = session.execute(statement).all()

        # all of the tenant's, although none may be among the 100 candidates of all tenants
        assert {article.tenant_id for article, _ in found} == {tenant}
        assert len(found) == 6 or mode == "lexical"


def test_only_tables_that_nothing_joins_are_called_a_cartesian_product(
    articles: None, sqlalchemy_engine: Engine
) -> None:
    """SQLAlchemy's warning; a relationship with a table between has both in a subquery, too."""
    other = aliased(Note)
    joined = select(Note.id).where(Note.article_id == Article.id, other.id == Note.id)
    with Session(sqlalchemy_engine) as session:
        rows = session.execute(article_search.search("amber birch", where=[joined.exists()])).all()
        with pytest.warns(SAWarning, match="cartesian product"):
            session.execute(article_search.search("amber birch", where=[Note.id > 0], limit=1))

    assert len(rows) == 10


def test_two_searches_stand_in_one_statement(articles: None, sqlalchemy_engine: Engine) -> None:
    texts = ["amber birch", "cedar -mango"]
    parts = [article_search.search(text, limit=5).subquery() for text in texts]
    both = union_all(*(select(part.c.id, part.c.score) for part in parts))
    with Session(sqlalchemy_engine) as session:
        alone = [
            (article.id, hit.score)
            for text in texts
            for article, hit in session.execute(article_search.search(text, limit=5))
        ]
        assert sorted(map(tuple, session.execute(both))) == sorted(alone)


def test_one_search_is_read_twice_by_one_statement(
    articles: None, sqlalchemy_engine: Engine
) -> None:
    hits = article_search.search("amber birch", limit=9).cte("hits")
    other = hits.alias("other")
    better = select(func.count()).join(other, other.c.score > hits.c.score).select_from(hits)
    with Session(sqlalchemy_engine) as session:
        scores = session.scalars(select(hits.c.score)).all()
        assert session.scalar(better) == sum(a > b for a in scores for b in scores)


def test_an_entity_is_read_from_a_search(articles: None, sqlalchemy_engine: Engine) -> None:
    found = aliased(Article, article_search.search("amber birch", limit=5).subquery())
    statement = article_search.search("amber birch", limit=5)
    with Session(sqlalchemy_engine) as session:
        shown = {article.id for article, _ in session.execute(statement)}
        assert {one.id for one in session.scalars(select(found))} == shown


@pytest.mark.parametrize("load", [joinedload, selectinload])
def test_what_belongs_to_the_rows_is_loaded_along(
    articles: None, sqlalchemy_engine: Engine, load: Any
) -> None:
    statement = article_search.search("amber birch", limit=5)
    with Session(sqlalchemy_engine) as session:
        plain = [article.id for article, _ in session.execute(statement)]
        rows = session.execute(statement.options(load(Article.notes))).unique().all()
        assert [article.id for article, _ in rows] == plain
        assert all(len(article.__dict__["notes"]) == 2 for article, _ in rows)
