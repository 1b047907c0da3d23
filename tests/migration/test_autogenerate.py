"""Declarations on models become operations in revisions, and an unchanged model none."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import Column, MetaData, Text

from embedsql import Hnsw
from tests.factories import drain, verify_all
from tests.migration.application import Application, article, declare, operations_in

INSERT = (
    "INSERT INTO article (id, title, body) SELECT n, 't' || n, 'b' FROM generate_series(1, 20) n"
)


def test_a_new_declaration_is_installed_created_and_quiet(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    declare(article(application.metadata))
    with caplog.at_level(logging.INFO, logger="alembic"):  # as alembic.ini has it
        revision = application.revise()
    assert "Detected added semantic index 'article_search'" in caplog.text
    assert operations_in(revision) == ["install_embedsql", "create_table", "create_semantic_index"]
    application.upgrade()
    assert application.drift() is None
    assert operations_in(application.revise()) == []


def test_upgrade_downgrade_upgrade_is_byte_identical(application: Application) -> None:
    declare(article(application.metadata), index="hnsw", hnsw=Hnsw(m=24))
    application.revise()
    application.upgrade()
    first = application.schema()
    application.downgrade("base")
    assert "CREATE SCHEMA" not in application.schema()
    application.upgrade()
    assert application.schema() == first


def test_a_revision_freezes_its_declaration_as_readable_python(application: Application) -> None:
    declare(article(application.metadata), hnsw=Hnsw(m=24), template="{title}: {chunk}")
    revision = application.revise()
    assert "from embedsql import Hnsw" in revision
    assert (
        """
    op.create_semantic_index(
        'article_search',
        'article',
        key={'id': 'bigint'},
        text=['title', 'body'],
        model='hash:64',
        dimensions=64,
        template='{title}: {chunk}',
        hnsw=Hnsw(m=24),
    )
"""
        in revision
    )


def test_a_removed_declaration_is_dropped_in_full(application: Application) -> None:
    declare(article(application.metadata), lexical=None)
    application.revise()
    application.upgrade()
    made = application.schema()
    application.metadata = MetaData()
    article(application.metadata)
    revision = application.revise()
    assert operations_in(revision) == ["drop_semantic_index"]
    assert revision.count("lexical=None") == 2
    application.upgrade()
    assert application.drift() is None
    application.downgrade()
    assert application.schema() == made


def test_a_removed_table_goes_after_its_index(application: Application) -> None:
    declare(article(application.metadata))
    application.revise()
    application.upgrade()
    application.metadata = MetaData()
    assert operations_in(application.revise()) == ["drop_semantic_index", "drop_table"]
    application.upgrade()
    application.downgrade()
    application.upgrade()
    assert application.drift() is None


def test_changed_build_options_rebuild_the_vector_index_alone(application: Application) -> None:
    declare(article(application.metadata))
    application.revise()
    application.upgrade()
    with application.connected() as connection:
        connection.exec_driver_sql(INSERT)
        connection.commit()
    assert drain(application.database).saved == 20
    before = application.schema()
    assert "m='16'" in before
    application.metadata = MetaData()
    declare(article(application.metadata), hnsw=Hnsw(m=32, ef_construction=128))
    revision = application.revise()
    assert operations_in(revision) == ["rebuild_vector_index"]
    assert "before={'hnsw': Hnsw()}" in revision
    application.upgrade()
    assert "m='32', ef_construction='128'" in application.schema()
    assert "_ann_old" not in application.schema()
    assert application.drift() is None
    application.downgrade()
    assert application.schema() == before
    assert drain(application.database).saved == 0
    assert verify_all(application.database).ok


def test_a_model_of_other_dimensions_makes_the_index_anew(application: Application) -> None:
    declare(article(application.metadata))
    application.revise()
    application.upgrade()
    with application.connected() as connection:
        connection.exec_driver_sql(INSERT)
        connection.commit()
    drain(application.database)
    application.metadata = MetaData()
    declare(article(application.metadata), model="hash:32", dimensions=32)
    revision = application.revise()
    assert operations_in(revision) == ["change_semantic_index"]
    assert "before={'dimensions': 64, 'model': 'hash:64'}" in revision
    assert "every row is embedded anew" in revision
    application.upgrade()
    assert application.drift() is None
    assert drain(application.database).saved == 20
    application.downgrade()
    assert drain(application.database).saved == 20
    assert verify_all(application.database).ok


def test_other_text_columns_frame_what_happens_to_the_table(application: Application) -> None:
    declare(article(application.metadata))
    application.revise()
    application.upgrade()
    application.metadata = MetaData()
    table = article(application.metadata, Column("summary", Text))
    declare(table, text=("title", "summary"))
    revision = application.revise()
    assert operations_in(revision) == [
        "drop_semantic_index",
        "add_column",
        "create_semantic_index",
    ]
    assert "# every row is embedded anew, and not found until it is\n    op.create_s" in revision
    application.upgrade()
    assert application.drift() is None
    application.downgrade()
    application.upgrade()
    assert application.drift() is None


def test_notify_is_changed_where_it_stands(application: Application) -> None:
    declare(article(application.metadata))
    application.revise()
    application.upgrade()
    with application.connected() as connection:
        connection.exec_driver_sql(INSERT)
        connection.commit()
    drain(application.database)
    before = application.schema()
    assert "pg_notify('embedsql', 'article_search')" in before
    application.metadata = MetaData()
    declare(article(application.metadata), notify=False)
    revision = application.revise()
    assert operations_in(revision) == ["change_semantic_index"]
    assert "anew" not in revision
    application.upgrade()
    assert "pg_notify('embedsql', 'article_search')" not in application.schema()
    assert application.drift() is None
    assert drain(application.database).saved == 0
    application.downgrade()
    assert application.schema() == before
