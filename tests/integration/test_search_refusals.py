"""A search that cannot be gets an error of ours that says what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import BigInteger, func, or_, text
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from embedsql import DeclarationError, IndexNotFoundError, QueryError, SemanticIndex, recency
from embedsql.embedders.hashing import HashEmbedder
from embedsql.registered import RegisteredSearch
from tests.factories import add_index, create_article_table, drain


class Base(DeclarativeBase):
    type_annotation_map = {int: BigInteger}


class Article(Base):
    __tablename__ = "article"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int]
    title: Mapped[str | None]
    body: Mapped[str | None]


class Page(Base):
    __tablename__ = "page"

    site: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str | None]


def declared(**options: Any) -> SemanticIndex:
    return SemanticIndex(
        "article_search", Article, text=("title", "body"), model="hash:64", **options
    )


index = declared(dimensions=64)


@pytest.fixture
def articles(connection: psycopg.Connection, database: str) -> None:
    create_article_table(connection)
    connection.execute(
        "INSERT INTO article (body, tenant_id) VALUES ('amber', 1), ('birch', 2), ('cedar', 3)"
    )
    add_index(connection)
    drain(database)


@pytest.fixture
def session(sqlalchemy_engine: Engine) -> Iterator[Session]:
    with Session(sqlalchemy_engine) as opened:
        yield opened


def test_one_condition_needs_no_list(articles: None, session: Session) -> None:
    def found(where: Any, **options: Any) -> list[int]:
        statement = index.search("birch", where=where, mode="dense", **options)
        return sorted(article.id for article, _ in session.execute(statement))

    assert found(Article.tenant_id == 2) == found([Article.tenant_id == 2]) == [2]
    # which is a list of conditions, too, but not one of which all must hold
    assert found(or_(Article.tenant_id == 1, Article.tenant_id == 3)) == [1, 3]
    assert found(text("tenant_id = 3")) == [3]
    assert found(one for one in [Article.tenant_id > 1, Article.tenant_id < 3]) == [2]
    assert found(None) == found(()) == [1, 2, 3]
    like = session.execute(index.more_like(1, where=Article.tenant_id == 3)).all()
    assert [article.id for article, _ in like] == [3]
    counted = index.facets(Article.tenant_id, "birch", where=Article.tenant_id == 2)
    assert session.execute(counted).all() == [(2, 1)]


@pytest.mark.parametrize("where", ["tenant_id = 1", ["tenant_id = 1"], 5, [5], [None, object()]])
def test_a_condition_that_is_no_expression_is_refused(where: Any) -> None:
    with pytest.raises(QueryError, match="where takes SQL expressions"):
        index.search("birch", where=where)


@pytest.mark.parametrize("query", [5, b"birch", ["birch"], Article.body])
def test_a_query_that_is_no_text_is_refused(query: Any, session: Session) -> None:
    for ask in (
        lambda: index.search(query),
        lambda: index.search(query, mode="lexical"),
        lambda: index.fetch(session, query),
        lambda: index.query_vector(query),
    ):
        with pytest.raises(QueryError, match="the query must be a text, not"):
            ask()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"limit": 10.5}, "1 to 1000 rows, not 10.5"),
        ({"limit": "10"}, "1 to 1000 rows, not '10'"),
        ({"tuning": {"ef_search": 10}}, "must be a SearchTuning"),
        ({"group_by": "tenant_id"}, "give the column itself, Article.tenant_id say"),
        ({"boosts": ["tenant_id"]}, "give the column itself"),
        ({"boosts": Article.tenant_id}, "boosts takes a list"),
    ],
)
def test_an_option_of_another_kind_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(QueryError, match=said):
        index.search("birch", **options)


def test_what_stands_for_a_column_a_key_a_time_or_a_reranker_is_refused_where_it_is_none(
    session: Session,
) -> None:
    text_of_a_column: Any = "tenant_id"
    number: Any = 30
    name: Any = "cross-encoder/some"
    asked: list[tuple[Callable[[], object], str]] = [
        (lambda: index.facets(text_of_a_column, "birch"), "give the column itself"),
        (lambda: index.more_like(Article(id=1)), "the key of a row, not the row"),
        (lambda: recency(Article.title, half_life=number), "is a timedelta"),
        (lambda: index.fetch(session, "birch", rerank=name), "cross_encoder.'cross-encoder/some'"),
    ]
    for ask, said in asked:
        with pytest.raises(QueryError, match=said):
            ask()


def test_a_text_column_is_declared_by_its_name() -> None:
    column: Any = Article.body
    with pytest.raises(DeclarationError, match="a text column's name must be a str"):
        SemanticIndex("other_search", Article, text=column).spec_of(64)


def test_a_key_may_be_what_the_url_had(articles: None, session: Session) -> None:
    like = session.execute(index.more_like("1")).all()
    assert sorted(article.id for article, _ in like) == [2, 3]


def test_a_session_of_the_other_kind_is_refused_with_what_to_call(session: Session) -> None:
    other: Any = AsyncSession()
    with pytest.raises(QueryError, match=r"this AsyncSession: await afetch\("):
        index.fetch(other, "birch")
    with pytest.raises(QueryError, match=r"await session\.run_sync"):
        index.explain(other, "birch")
    plain: Any = session
    with pytest.raises(QueryError, match=r"this Session: fetch\("):
        asyncio.run(index.afetch(plain, "birch"))


def test_a_mode_that_is_none_is_refused_before_the_model_is_asked() -> None:
    unheard_of = SemanticIndex(
        "article_search", Article, text="body", model="openai:none", base_url="http://x"
    )
    mode: Any = "semantic"
    with pytest.raises(QueryError, match="no such mode: 'semantic'; use hybrid, dense or lexical"):
        unheard_of.search("birch", mode=mode)


@pytest.mark.parametrize("option", [{}, {"quantization": "bit"}, {"index_dimensions": 16}])
def test_a_vector_of_another_length_is_refused(option: dict[str, Any]) -> None:
    wrong = HashEmbedder("hash:32").embed_queries(["birch"])[0]
    choices: list[dict[str, Any]] = [{"mode": "dense"}, {}]
    for options in choices:
        with pytest.raises(QueryError, match="has 32 dimensions, the index 64"):
            declared(dimensions=64, **option).search("birch", vector=wrong, **options)


def test_a_vector_is_measured_by_the_server_where_the_declaration_does_not_say(
    articles: None, session: Session, database: str
) -> None:
    wrong = HashEmbedder("hash:32").embed_queries(["birch"])[0]
    with pytest.raises(QueryError, match=r"does not fit the index 'article_search'.*64 and 32"):
        declared().fetch(session, "birch", vector=wrong)
    with (
        RegisteredSearch(database, "article_search") as search,
        pytest.raises(QueryError, match="has 32 dimensions, the index 64"),
    ):
        search.search("birch", vector=wrong)


def test_an_option_that_is_misspelt_is_refused_with_what_was_meant(session: Session) -> None:
    options: dict[str, Any] = {"limt": 5}
    for ask in (
        lambda: index.search("birch", **options),
        lambda: index.fetch(session, "birch", **options),
        lambda: index.explain(session, "birch", **options),
        lambda: index.facets(Article.id, "birch", **options),
        lambda: index.more_like(1, **options),
    ):
        with pytest.raises(QueryError, match="no option 'limt': did you mean limit"):
            ask()
    unknown: dict[str, Any] = {"zzz": 1}
    with pytest.raises(QueryError, match="no option 'zzz'; it has after, autocut, boosts"):
        index.search("birch", **unknown)


def test_an_index_that_is_not_in_the_database_is_told_with_what_makes_it(
    connection: psycopg.Connection, session: Session
) -> None:
    create_article_table(connection)
    for mode in ("dense", "lexical", None):
        with pytest.raises(IndexNotFoundError, match="'article_search': run the migration"):
            index.fetch(session, "birch", mode=mode)
        session.rollback()
        with pytest.raises(IndexNotFoundError, match="'article_search': run the migration"):
            index.explain(session, "birch", mode=mode, key=1)
        session.rollback()


def test_a_database_without_the_kit_is_told_so_too(empty_database: str) -> None:
    info = conninfo_to_dict(empty_database)
    url = URL.create(
        "postgresql+psycopg",
        username=str(info["user"]),
        database=str(info["dbname"]),
        query={"host": str(info["host"])},
    )
    with psycopg.connect(empty_database, autocommit=True) as connection:
        create_article_table(connection)

    async def run() -> None:
        engine = create_async_engine(url)
        async with AsyncSession(engine) as opened:
            with pytest.raises(IndexNotFoundError, match="run the migration"):
                await index.afetch(opened, "birch")
        await engine.dispose()

    asyncio.run(run())


def test_what_is_missing_of_the_applications_own_is_not_ours(
    articles: None, session: Session
) -> None:
    with pytest.raises(DBAPIError, match="no_such_function"):
        index.fetch(session, "birch", where=func.no_such_function(Article.id))


def test_more_like_takes_a_key_of_several_columns_as_a_tuple(
    connection: psycopg.Connection, database: str, session: Session
) -> None:
    connection.execute(
        "CREATE TABLE page (site text, number bigint, body text, PRIMARY KEY (site, number))"
    )
    connection.execute("INSERT INTO page VALUES ('a', 1, 'amber'), ('a', 2, 'amber oak')")
    pages = SemanticIndex("page_search", Page, text="body", model="hash:64", dimensions=64)
    add_index(connection, "page", text=("body",))
    drain(database)

    def found(*key: Any) -> list[int]:
        return [page.number for page, _ in session.execute(pages.more_like(*key))]

    assert found(("a", 1)) == found("a", 1) == [2]
    with pytest.raises(QueryError, match="a key of 2 columns, not 1"):
        pages.more_like(("a",))
