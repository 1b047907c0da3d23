"""What becomes of a ranking: pages, thresholds, groups, boosts, diversity, passages."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import ForeignKey, func, select, text
from sqlalchemy.engine import Engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from embedsql import (
    Chunking,
    QueryError,
    SearchTuning,
    SemanticIndex,
    recency,
    search_across,
)
from embedsql.database import connect
from embedsql.database import engine as engine_of
from embedsql.search import Mode
from tests.factories import add_index, drain


class Base(DeclarativeBase):
    """Of this module's tables."""


class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    topic: Mapped[str]
    likes: Mapped[int]
    posted_at: Mapped[datetime]
    author_id: Mapped[int] = mapped_column(ForeignKey(Author.id))
    body: Mapped[str]
    author: Mapped[Author] = relationship()


CHUNKING = Chunking(tokens=16, overlap=4)
POSTS = SemanticIndex("post_search", Post, text="body", model="hash:64", chunking=CHUNKING)
TOPICS = ("bread", "cheese", "wine", "olives", "honey")
QUERY = "fresh bread from the oven"
MODES: tuple[Mode, ...] = ("hybrid", "dense", "lexical")


@pytest.fixture(scope="module")
def filled(module_database: str) -> Iterator[Engine]:
    database = engine_of(module_database)
    Base.metadata.create_all(database)
    with Session(database) as session, session.begin():
        session.add_all([Author(id=1, name="Ada"), Author(id=2, name="Bo")])
        session.flush()
        for number in range(1, 61):
            topic = TOPICS[number % 5]
            body = (
                f"{topic} number {number} <b>is</b> fresh & good, and {topic} comes from the oven"
            )
            session.add(
                Post(
                    id=number,
                    topic=topic,
                    likes=number,
                    posted_at=datetime(2026, 1, 1) + timedelta(days=number),
                    author_id=1 + number % 2,
                    body=body if number != 60 else body + ". ".join(f"word{n}" for n in range(90)),
                )
            )
    with connect(module_database) as connection:
        add_index(connection, "post", text=("body",), chunking=CHUNKING)
    drain(module_database)
    yield database
    database.dispose()


@pytest.fixture
def session(filled: Engine) -> Iterator[Session]:
    with Session(filled) as opened:
        yield opened


def ids(session: Session, **options: Any) -> list[int]:
    return [post.id for post, _ in session.execute(POSTS.search(QUERY, **options))]


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_pages_fit_together(session: Session, mode: Any) -> None:
    whole = ids(session, mode=mode, limit=60)
    paged = [one for at in range(0, 60, 7) for one in ids(session, mode=mode, limit=7, offset=at)]
    assert paged == whole[: len(paged)]
    assert len(paged) == len(set(paged)) >= 12
    keyset: list[int] = []
    after = None
    while True:
        rows = session.execute(POSTS.search(QUERY, mode=mode, limit=7, after=after)).all()
        if not rows:
            break
        keyset += [post.id for post, _ in rows]
        after = (rows[-1][1].score, rows[-1][0].id)
    assert keyset == paged


def test_a_page_beyond_the_window_is_refused() -> None:
    with pytest.raises(QueryError, match=r"SearchTuning\(candidates"):
        POSTS.search(QUERY, offset=95, limit=10)
    POSTS.search(QUERY, offset=95, limit=10, tuning=SearchTuning(candidates=105))


def test_rows_below_a_threshold_are_left_out(session: Session) -> None:
    rows = session.execute(POSTS.search(QUERY, mode="dense", limit=60)).all()
    middle = rows[20][1].similarity or 0.0
    kept = session.execute(POSTS.search(QUERY, limit=60, min_similarity=middle)).all()
    assert {(hit.similarity or 0.0) >= middle for _, hit in kept} == {True}
    assert len(kept) == sum((hit.similarity or 0.0) >= middle for _, hit in rows)
    assert session.execute(POSTS.search(QUERY, min_similarity=0.999)).all() == []


@pytest.mark.parametrize("mode", MODES)
def test_what_speaks_for_a_row_is_the_same_in_every_mode_that_knows_it(
    session: Session, mode: Mode
) -> None:
    mean, deviation = session.execute(
        text("SELECT similarity_mean, similarity_deviation FROM embedsql.semantic_index")
    ).one()
    demand = session.execute(
        text("SELECT demand FROM embedsql.bm25_question('post_search', 'english', :words, 100)"),
        {"words": QUERY},
    ).scalar_one()
    rows = session.execute(POSTS.search(QUERY, mode=mode, limit=60)).all()
    for _, hit in rows:
        meaning = words = -1e9
        if hit.similarity is not None:
            meaning = (hit.similarity - mean) / deviation / 2
        if hit.bm25 is not None:
            words = hit.bm25 / demand
        assert hit.support == pytest.approx(max(meaning, words))
    kept = session.execute(POSTS.search(QUERY, mode=mode, limit=60, min_support=1)).all()
    assert [post.id for post, _ in kept] == [
        post.id for post, hit in rows if (hit.support or 0) >= 1
    ]


def test_a_question_without_a_good_answer_finds_nothing(session: Session) -> None:
    for words in ("zymurgy quokka", "zymurgy bread quokka xylophone"):
        statement = POSTS.search(words, mode="lexical", min_support=1)
        assert session.execute(statement).all() == []
    assert session.execute(POSTS.search("zymurgy bread quokka", mode="lexical")).all()
    assert session.execute(POSTS.search("bread", mode="lexical", min_support=0.5)).all()


def test_autocut_ends_before_the_widest_gap(session: Session) -> None:
    rows = session.execute(POSTS.search(QUERY, limit=30)).all()
    cut = session.execute(POSTS.search(QUERY, limit=30, autocut=True)).all()
    scores = [hit.score for _, hit in rows]
    gaps = [left - right for left, right in itertools.pairwise(scores)]
    whole = [row[0].id for row in rows]
    assert [post.id for post, _ in cut] == whole[: gaps.index(max(gaps)) + 1]


def test_groups_show_their_best(session: Session) -> None:
    grouped = session.execute(POSTS.search(QUERY, limit=60, group_by=Post.topic)).all()
    assert sorted(post.topic for post, _ in grouped) == sorted(TOPICS)
    two = session.execute(POSTS.search(QUERY, limit=60, group_by=Post.topic, per_group=2)).all()
    assert len(two) == 10


def test_boosts_lift_rows(session: Session) -> None:
    liked = ids(session, limit=60, boosts=[Post.likes * 100])
    assert liked == sorted(liked, reverse=True)
    recent = recency(Post.posted_at, half_life=timedelta(days=3650), weight=1e6)
    assert ids(session, limit=3, boosts=[recent]) == [60, 59, 58]


def test_diversity_spreads_the_top(session: Session) -> None:
    plain = [post.topic for post, _ in session.execute(POSTS.search(QUERY, limit=8))]
    rows = session.execute(POSTS.search(QUERY, limit=8, diversity=0.7)).all()
    spread = [post.topic for post, _ in rows]
    assert len(set(spread)) > len(set(plain))
    assert spread[0] == plain[0]
    first, then = (ids(session, limit=4, offset=at, diversity=0.7) for at in (0, 4))
    assert first + then == [post.id for post, _ in rows]


def test_highlights_are_escaped(session: Session) -> None:
    rows = session.execute(POSTS.search("fresh bread number", limit=60, highlight=True)).all()
    shown = " ".join(hit.highlight or "" for _, hit in rows)
    assert "<mark>bread</mark>" in shown
    assert "&lt;b&gt;" in shown
    assert "&amp;" in shown
    assert "<b>" not in shown
    hostile = "\"></mark><script>alert('x')</script> bread"
    (_, hit), *_ = session.execute(POSTS.search(hostile, highlight=True)).all()
    assert "<script" not in (hit.highlight or "<script")


def test_a_passage_comes_with_its_neighbours(session: Session) -> None:
    search = POSTS.search("word40 word41 word42", limit=1, neighbours=1)
    (post, hit), *_ = session.execute(search).all()
    assert post.id == 60
    part = hit.passage or ""
    assert part in post.body
    assert len(part) > len(hit.snippet)
    more = session.execute(POSTS.search("word40 word41 word42", limit=1, neighbours=10)).one()[1]
    whole = more.passage or ""
    assert len(whole) > len(part)
    assert whole in post.body


def test_facets_count_the_window(session: Session) -> None:
    counts = [tuple(row) for row in session.execute(POSTS.facets(Post.topic, QUERY))]
    assert counts == [(topic, 12) for topic in sorted(TOPICS)]
    nearest = POSTS.facets(Post.topic, QUERY, mode="dense", tuning=SearchTuning(candidates=12))
    assert sum(count for _, count in session.execute(nearest)) == 12


def test_more_like_a_row_leaves_it_out(session: Session) -> None:
    rows = session.execute(POSTS.more_like(5, limit=11)).all()
    assert {post.topic for post, _ in rows} == {"bread"}
    assert 5 not in {post.id for post, _ in rows}
    assert session.execute(POSTS.more_like(10**6)).all() == []
    with pytest.raises(QueryError, match="1 columns"):
        POSTS.more_like(1, 2)


def test_filters_may_speak_of_other_tables(session: Session) -> None:
    for mode in ("dense", "lexical", "hybrid"):
        by_join = ids(
            session,
            mode=mode,
            where=[Author.name == "Bo"],
            joins=[(Author, Author.id == Post.author_id)],
        )
        by_exists = ids(session, mode=mode, where=[Post.author.has(name="Bo")])
        assert by_join == by_exists
        assert len(by_join) == 10
        assert {one % 2 for one in by_join} == {1}


def test_a_search_is_part_of_a_larger_statement(session: Session) -> None:
    found = POSTS.search(QUERY, limit=20).subquery()
    by_topic = select(found.c.topic, func.count(), func.max(found.c.score)).group_by(found.c.topic)
    assert sum(count for _, count, _ in session.execute(by_topic)) == 20
    posts = POSTS.search(QUERY, limit=5).cte()
    authors = select(Author.name).join(posts, posts.c.author_id == Author.id).distinct()
    assert set(session.scalars(authors)) <= {"Ada", "Bo"}


def test_several_indexes_are_searched_at_once(
    filled: Engine, module_database: str, session: Session
) -> None:
    with psycopg.connect(module_database, autocommit=True) as connection:
        add_index(connection, "author", text=("name",))
    drain(module_database)
    authors = SemanticIndex("author_search", Author, text="name", model="hash:64")
    rows = session.execute(search_across([POSTS, authors], "Ada bread", limit=70)).all()
    assert {row.index_name for row in rows} == {"post_search", "author_search"}
    assert [row.score for row in rows] == sorted((row.score for row in rows), reverse=True)
    assert ("author_search", 1) in {(row.index_name, row.key) for row in rows}
