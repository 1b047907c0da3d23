from __future__ import annotations

import itertools
import re
from typing import Any, assert_type

import pytest
from sqlalchemy import BigInteger, Column, MetaData, Select, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from embedsql import DeclarationError, Hit, QueryError, SearchTuning, SemanticIndex
from embedsql.search import Mode

DIALECT: Dialect = psycopg.dialect()  # type: ignore[no-untyped-call]
VECTOR = [0.1, 0.2, 0.3]
MODES: tuple[Mode, ...] = ("dense", "lexical", "hybrid")
# the selects that read rows: two of the dense lane (approximate, exact), four of the lexical
# (those that wait, the probe, what else could be better, and everything)
READS: dict[Mode, int] = {"dense": 2, "lexical": 4, "hybrid": 6}


class Base(DeclarativeBase):
    pass


class Article(Base):
    __tablename__ = "article"

    number: Mapped[int] = mapped_column("id", primary_key=True)
    tenant_id: Mapped[int]
    body: Mapped[str]


page = Table(
    "Page",
    MetaData(schema="site"),
    Column("domain", Uuid, primary_key=True),
    Column("path", Text, primary_key=True),
    Column("body", Text),
    Column("visits", BigInteger),
)

articles = SemanticIndex("article_search", Article, text=("body",))
pages = SemanticIndex("page search", page, text=("body",), quantization="halfvec", lexical="simple")

SOURCES = [
    pytest.param(articles, Article.tenant_id == 7, "article.tenant_id = ", id="mapped class"),
    pytest.param(pages, page.c.visits > 7, 'site."Page".visits > ', id="table"),
]


def search(index: SemanticIndex, mode: Mode = "hybrid", **options: Any) -> Select[Any, Hit]:
    return index.search("a b", vector=VECTOR, mode=mode, **options)


def results_are_typed(session: Session) -> None:
    """``make lint`` is the judge: mypy knows a result's types by the model that was declared."""
    for article, hit in session.execute(articles.search("a")):
        assert_type(article, Article)
        assert_type(hit, Hit)
    for article, hit in articles.fetch(session, "a"):
        assert_type(article, Article)
        assert_type(hit, Hit)
    for tenant, count in session.execute(articles.facets(Article.tenant_id, "a")):
        assert_type(tenant, int)
        assert_type(count, int)
    for *columns, _ in session.execute(pages.search("a")):
        assert_type(columns, list[Any])


def rendered(statement: Select[*tuple[Any, ...]]) -> str:
    compiled = statement.compile(dialect=DIALECT)
    return " ".join(str(compiled).split())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("index", "condition", "words"), SOURCES)
def test_every_lane_contains_the_condition(
    index: SemanticIndex, condition: Any, words: str, mode: Mode
) -> None:
    sql = rendered(search(index, mode, where=[condition]))

    assert sql.count(words) == READS[mode]
    assert words not in rendered(search(index, mode))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("index", "source", "view"),
    [
        pytest.param(articles, "article", "embedsql.article_search_chunk", id="mapped class"),
        pytest.param(pages, 'site."Page"', 'embedsql."page search_chunk"', id="table"),
    ],
)
def test_the_source_is_named_before_the_chunks(
    index: SemanticIndex, source: str, view: str, mode: Mode
) -> None:
    sql = rendered(search(index, mode))

    # PostgreSQL locks tables in the order in which a statement names them
    places = [sql.find(f"{word} {view}") for word in ("FROM", "JOIN")]
    assert 0 < sql.index(f"FROM {source} ") < min(place for place in places if place >= 0)


@pytest.mark.parametrize("mode", MODES)
def test_only_the_lanes_asked_for_are_there(mode: Mode) -> None:
    sql = rendered(search(articles, mode))

    assert ("<=>" in sql) == (mode != "lexical")
    assert ("bm25_question" in sql) == (mode != "dense")
    assert ("require_space" in sql) == (mode != "lexical")
    assert ("FULL OUTER JOIN" in sql) == (mode == "hybrid")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("index", "condition", "words"), SOURCES)
def test_the_same_search_twice_is_compiled_once(
    index: SemanticIndex, condition: Any, words: str, mode: Mode
) -> None:
    one = index.search("one", vector=VECTOR, mode=mode, where=[condition])
    other = index.search("two", vector=[3.0, 2.0, 1.0], mode=mode, where=[condition])

    key = one._generate_cache_key()
    assert key is not None
    assert key == other._generate_cache_key()


def test_another_mode_or_index_is_another_statement() -> None:
    found = [search(i, mode)._generate_cache_key() for i in (articles, pages) for mode in MODES]
    keys = [key for key in found if key is not None]

    assert len(keys) == 6
    assert all(left != right for left, right in itertools.combinations(keys, 2))


@pytest.mark.parametrize(
    ("index", "kind"), [(articles, "VECTOR"), (pages, "HALFVEC")], ids=["vector", "halfvec"]
)
def test_the_vector_is_cast_to_the_stored_type_and_ordered_as_the_index_serves(
    index: SemanticIndex, kind: str
) -> None:
    sql = rendered(search(index, "dense"))

    distance = rf"[^,]+\.embedding <=> CAST\(%\(\w+\)s::VARCHAR AS {kind}\)"
    assert re.search(rf"ORDER BY {distance} LIMIT", sql)


def test_every_lane_has_its_own_limit_and_the_whole_has_the_callers() -> None:
    statement = search(articles, limit=7, tuning=SearchTuning(candidates=50, oversample=3))
    values = statement.compile(dialect=DIALECT).params

    limits = [value for name, value in values.items() if isinstance(value, int)]
    assert 7 in limits
    assert {50, 3} <= set(limits)


def test_a_mapped_class_gives_the_entity_and_a_table_its_columns() -> None:
    assert [found["name"] for found in search(articles).column_descriptions] == ["Article", "hit"]
    assert [found["name"] for found in search(pages).column_descriptions] == [
        "domain",
        "path",
        "body",
        "visits",
        "hit",
    ]


def test_the_callers_values_are_parameters() -> None:
    hostile = "'; DROP TABLE article; --"
    sql = rendered(articles.search(hostile, mode="lexical", where=[Article.body == hostile]))

    assert "DROP TABLE" not in sql


def test_a_lexical_search_of_an_index_without_words_is_refused() -> None:
    dense_only = SemanticIndex("dense_only", Article, text=("body",), lexical=None)

    assert "ts_rank" not in rendered(search(dense_only, "dense"))
    with pytest.raises(QueryError, match="'dense_only' was made without a lexical lane"):
        search(dense_only, "lexical")


@pytest.mark.parametrize(
    "entity",
    [
        object,
        "article",
        Table("keyless", MetaData(), Column("body", Text)),
    ],
    ids=["any class", "a name", "no key"],
)
def test_what_cannot_be_searched_is_refused(entity: Any) -> None:
    with pytest.raises(DeclarationError):
        search(SemanticIndex("wrong", entity, text=("body",)))


@pytest.mark.parametrize(
    ("entity", "advice"),
    [("help_article", "not its name"), (str, "map it first"), (object(), "mapped class")],
    ids=["a name", "a class that is not mapped", "any object"],
)
def test_what_autogenerate_could_not_see_is_refused_where_it_is_declared(
    entity: Any, advice: str
) -> None:
    with pytest.raises(DeclarationError, match=advice):
        SemanticIndex("wrong", entity, text="body")


def test_a_declaration_becomes_the_spec_of_its_table() -> None:
    spec = SemanticIndex("p", page, text=("body",), model="hash:8").spec

    assert (spec.schema, spec.table, spec.dimensions) == ("site", "Page", 8)
    assert [(column.name, column.type) for column in spec.key] == [
        ("domain", "uuid"),
        ("path", "text"),
    ]


def test_one_text_column_given_as_a_string_is_not_its_letters() -> None:
    try:
        found = SemanticIndex("p", page, text="body", dimensions=8).spec.text
    except DeclarationError:
        return
    assert found == ("body",)
