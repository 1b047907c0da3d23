"""What ``embedsql add`` refuses, revisions and autogenerate refuse, before a worker meets it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, Table, Text

from embedsql import ConfigurationError, DeclarationError, UnknownModelError
from tests.everyday import cases
from tests.factories import drain
from tests.migration.application import Application, article, declare, operations_in
from tests.migration.test_operations import DECLARED, TABLE, write_first

# what is declared wrong, by whom it is refused, and with which words
WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "configuration": (
        {"lexical": "klingon"},
        DeclarationError,
        "no text-search configuration 'klingon'; there are: .*english",
    ),
    "column": ({"text": ("titel",)}, DeclarationError, "no column 'titel'; it has id, title, body"),
    "lexical column": ({"lexical_column": "lang"}, DeclarationError, "has no column 'lang'"),
    "dimensions": ({"dimensions": 32}, ConfigurationError, "64 dimensions, not 32"),
    "model": ({"model": "all-MiniLM-L6-v2"}, UnknownModelError, "sentence-transformers/<model>"),
}


def declared(**wrong: Any) -> str:
    values: dict[str, Any] = {"text": ["title", "body"], "model": "hash:64", "dimensions": 64}
    arguments = "".join(f", {name}={value!r}" for name, value in (values | wrong).items())
    return f"'article_search', 'article', key={{'id': 'bigint'}}{arguments}"


@pytest.mark.parametrize("what", cases(WRONG, *list(WRONG)[::2]))
def test_a_revision_refuses_it_and_makes_nothing(application: Application, what: str) -> None:
    wrong, error, words = WRONG[what]
    application.write("op.install_embedsql(version=1)")
    application.upgrade()
    before = application.schema()
    # the table is made by the same revision
    application.write(f"{TABLE}\n    op.create_semantic_index({declared(**wrong)})")
    with pytest.raises(error, match=words):
        application.upgrade()
    assert application.schema() == before
    assert 'CREATE TABLE "embedsql"."article_search_log"' in application.printed("0001:0002")


@pytest.mark.parametrize("what", cases(WRONG, *list(WRONG)[::3]))
def test_a_change_to_it_is_refused_and_the_index_stays(application: Application, what: str) -> None:
    wrong, error, words = WRONG[what]
    write_first(application)
    application.upgrade()
    before = application.schema()
    was = {"text": ["title", "body"], "lexical": "english", "model": "hash:64", "dimensions": 64}
    was = {name: was.get(name) for name in wrong}
    application.write(f"op.change_semantic_index({declared(**wrong)}, before={was})")
    with pytest.raises(error, match=words):
        application.upgrade()
    assert application.schema() == before


def test_a_next_generation_of_it_is_refused(application: Application) -> None:
    write_first(application)
    application.upgrade()
    before = application.schema()
    application.write(f"op.reembed_semantic_index({declared(lexical='klingon')}, generation=2)")
    with pytest.raises(DeclarationError, match="klingon"):
        application.upgrade()
    assert application.schema() == before


@pytest.mark.parametrize("is_there", [False, True], ids=["a new table", "a table"])
@pytest.mark.parametrize("what", cases(WRONG, *list(WRONG)[::2]))
def test_autogenerate_refuses_it(application: Application, what: str, is_there: bool) -> None:
    wrong, error, words = WRONG[what]
    if is_there:
        application.write(TABLE)
        application.upgrade()
    declare(article(application.metadata), **wrong)
    with pytest.raises(error, match=words):
        application.revise()


def test_autogenerate_refuses_a_change_to_it(application: Application) -> None:
    declare(article(application.metadata))
    application.revise()
    application.upgrade()
    application.metadata = MetaData()
    declare(article(application.metadata), lexical="klingon")
    with pytest.raises(DeclarationError, match="klingon"):
        application.revise()


def test_autogenerate_refuses_a_column_of_bytes(application: Application) -> None:
    declare(article(application.metadata, Column("scan", LargeBinary)), text="scan")
    with pytest.raises(DeclarationError, match="'scan' of 'article' holds bytes"):
        application.revise()


def test_a_column_that_only_the_database_has_is_a_column(application: Application) -> None:
    """As one is that the application hides from autogenerate."""
    application.write(TABLE)
    application.upgrade()
    table = Table("article", application.metadata, Column("id", BigInteger, primary_key=True))
    declare(table)
    assert "create_semantic_index" in operations_in(application.revise())


def test_autogenerate_refuses_the_name_of_a_table_to_come(application: Application) -> None:
    declare(article(application.metadata), "article")
    with pytest.raises(DeclarationError, match="'article' is taken by a table of schema public"):
        application.revise()


def test_the_name_of_a_view_is_refused(application: Application) -> None:
    application.write(
        f"{TABLE}; op.execute('CREATE VIEW article_search AS SELECT 1'); op.install_embedsql()"
    )
    application.upgrade()
    declare(article(application.metadata))
    taken = "'article_search' is taken by a relation of schema public"
    with pytest.raises(DeclarationError, match=taken):
        application.revise()
    application.write(f"op.create_semantic_index({DECLARED})")
    with pytest.raises(DeclarationError, match=taken):
        application.upgrade()


def test_a_name_that_the_same_revision_makes_free_is_free(application: Application) -> None:
    Table("article_search", application.metadata, Column("word", Text))
    application.revise()
    application.upgrade()
    application.metadata = MetaData()
    declare(article(application.metadata))
    assert "drop_table" in operations_in(application.revise())
    application.upgrade()
    assert application.drift() is None


def test_an_index_that_is_there_already_is_refused(application: Application) -> None:
    write_first(application)
    application.upgrade()
    application.write(f"op.create_semantic_index({DECLARED})")
    with pytest.raises(DeclarationError, match=r"'article_search' already; .*drop_semantic_index"):
        application.upgrade()
    assert drain(application.database).saved == 0
