"""What Alembic is blind to: objects that are no longer as the declaration made them."""

from __future__ import annotations

import dataclasses
import logging

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import MetaData

from embedsql import DeclarationError, Hnsw, SchemaVersionError, SearchTuning
from embedsql.alembic import embedsql_hooks
from embedsql.alembic.implementations import suspend
from embedsql.alembic.operations import SuspendSemanticIndexOp
from embedsql.database import connect
from embedsql.reembed import ModelChange
from embedsql.registry import find_index
from embedsql.sqlsearch import function_statements
from embedsql.stored_tuning import store_tuning
from tests.everyday import cases
from tests.factories import drain, verify_all
from tests.migration.application import Application, article, declare, operations_in

CHUNK = "embedsql.article_search_chunk_1"
ANN = "embedsql.article_search_chunk_1_ann"


@pytest.fixture
def made(application: Application) -> Application:
    """An application whose index is made and filled."""
    declare(article(application.metadata))
    application.revise()
    application.upgrade()
    break_it(application, "INSERT INTO article (id, title, body) VALUES (1, 'one', 'first')")
    drain(application.database)
    assert application.drift() is None
    return application


def break_it(application: Application, *statements: str) -> None:
    with application.connected() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        connection.commit()


BREAKAGES = [
    "DROP TRIGGER embedsql_article_search_insert ON article",
    "ALTER TABLE article DISABLE TRIGGER embedsql_article_search_update",
    "ALTER TABLE article ENABLE REPLICA TRIGGER embedsql_article_search_delete",
    "CREATE OR REPLACE FUNCTION embedsql.article_search_on_update() RETURNS trigger "
    "LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp "
    "AS 'BEGIN RETURN NULL; END'",
    "ALTER FUNCTION embedsql.article_search_on_delete() SECURITY INVOKER",
    "ALTER FUNCTION embedsql.article_search_on_delete() RESET search_path",
    "GRANT EXECUTE ON FUNCTION embedsql.article_search_on_insert() TO PUBLIC",
    "CREATE OR REPLACE TRIGGER embedsql_article_search_update AFTER UPDATE ON article "
    "FOR EACH ROW WHEN (OLD.title IS DISTINCT FROM NEW.title) "
    "EXECUTE FUNCTION embedsql.article_search_on_update()",
    "CREATE TRIGGER another AFTER INSERT ON article FOR EACH ROW "
    "EXECUTE FUNCTION embedsql.article_search_on_insert()",
    "ALTER VIEW article_search RESET (security_invoker)",
    "ALTER FUNCTION article_search SET search_path = public",
    "DROP FUNCTION article_search",
    "DROP FUNCTION embedsql.article_search_pending",
    "ALTER FUNCTION embedsql.article_search_pending() SECURITY DEFINER",
    "DROP VIEW article_search",
    "DROP INDEX embedsql.article_search_chunk_1_content",
]


@pytest.mark.parametrize("statement", cases(BREAKAGES, *BREAKAGES[::8]))
def test_what_is_broken_is_repaired(made: Application, statement: str) -> None:
    before = made.schema()
    break_it(made, statement)
    assert made.drift() is not None
    assert operations_in(made.revise()) == ["repair_semantic_index"]
    made.upgrade()
    assert made.drift() is None
    assert made.schema() == before


DEFINITIONS = [
    "USING hnsw (embedding vector_l2_ops)",
    "USING hnsw (embedding vector_cosine_ops) WITH (m = 8)",
    "USING hnsw (embedding vector_cosine_ops) WITH (m = 16, ef_construction = 100)",
    "USING ivfflat (embedding vector_cosine_ops) WITH (lists = 1)",
    "USING hnsw ((embedding::halfvec(64)) halfvec_cosine_ops) WITH (m=16, ef_construction=64)",
    "USING hnsw ((subvector(embedding, 1, 32)::vector(32)) vector_cosine_ops)",
    "USING hnsw (embedding vector_cosine_ops) WITH (m = 16, ef_construction = 64) "
    "WHERE chunk_seq = 0",
]


@pytest.mark.parametrize("definition", cases(DEFINITIONS, *DEFINITIONS[::5]))
@pytest.mark.exhaustive
def test_another_vector_index_is_rebuilt(made: Application, definition: str) -> None:
    before = made.schema()
    break_it(
        made,
        f"DROP INDEX {ANN}",
        "SET client_min_messages = error",
        f"CREATE INDEX article_search_chunk_1_ann ON {CHUNK} {definition}",
    )
    assert operations_in(made.revise()) == ["rebuild_vector_index"]
    made.upgrade()
    assert made.drift() is None
    assert made.schema() == before


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("article_search_chunk_1_ann", "rebuild_vector_index"),
        ("article_search_chunk_1_content", "repair_semantic_index"),
        ("article_search_chunk_1_lexemes", "repair_semantic_index"),
    ],
)
@pytest.mark.exhaustive
def test_an_invalid_index_is_built_again(made: Application, name: str, operation: str) -> None:
    before = made.schema()
    break_it(
        made,
        f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'embedsql.{name}'::regclass",
    )
    assert operations_in(made.revise()) == [operation]
    made.upgrade()
    assert made.drift() is None
    assert made.schema() == before


def test_another_column_of_our_tables_makes_the_index_anew(made: Application) -> None:
    break_it(
        made,
        f"ALTER TABLE {CHUNK} DROP COLUMN embedding CASCADE, ADD COLUMN embedding vector(3)",
    )
    assert operations_in(made.revise()) == ["drop_semantic_index", "create_semantic_index"]
    made.upgrade()
    assert made.drift() is None
    drain(made.database)
    assert verify_all(made.database).ok


def test_a_vector_index_that_a_worker_has_yet_to_build_is_no_drift(made: Application) -> None:
    break_it(made, f"DROP INDEX {ANN}")
    assert made.drift() is None
    made.metadata = MetaData()
    declare(article(made.metadata), hnsw=Hnsw(m=20))
    assert operations_in(made.revise()) == ["rebuild_vector_index"]
    made.upgrade()
    assert made.drift() is None
    drain(made.database)
    assert "m='20'" in made.schema()
    assert made.drift() is None


def test_changes_while_a_trigger_was_away_are_found_after_the_repair(made: Application) -> None:
    break_it(
        made,
        "DROP TRIGGER embedsql_article_search_insert ON article",
        "INSERT INTO article (id, title, body) VALUES (2, 'two', 'unseen')",
    )
    made.revise()
    made.upgrade()
    assert drain(made.database).saved == 1
    assert verify_all(made.database).ok


def test_a_role_that_may_not_compare_is_told_so(
    made: Application, caplog: pytest.LogCaptureFixture
) -> None:
    with made.connected() as connection:
        connection.exec_driver_sql("SET transaction_read_only = on")
        context = MigrationContext.configure(connection, opts=embedsql_hooks())
        with caplog.at_level(logging.WARNING):
            assert compare_metadata(context, made.metadata) == []
    assert "not compared" in caplog.text


def test_a_newer_schema_of_the_kit_is_refused(made: Application) -> None:
    break_it(made, "UPDATE embedsql.installation SET version = 99")
    with pytest.raises(SchemaVersionError, match="upgrade the embedsql package"):
        made.drift()
    made.write("op.install_embedsql(version=1)")
    with pytest.raises(SchemaVersionError, match="newer than this release"):
        made.upgrade()


def test_a_model_change_is_no_drift(made: Application) -> None:
    old, new = made.metadata, MetaData()
    declare(article(new), model="hash:96", dimensions=96, quantization="halfvec")

    with ModelChange(made.database, "article_search") as change:
        spec = dataclasses.replace(
            change.generations.serving.spec,
            model="hash:96",
            dimensions=96,
            quantization="halfvec",
        )
        change.begin(spec)
        for metadata in (old, new):  # the code is changed before, or after
            made.metadata = metadata
            assert made.drift() is None
        with (
            made.connected() as bind,
            pytest.raises(DeclarationError, match="--finish, or --abort"),
        ):
            suspend(Operations(MigrationContext.configure(bind)), SuspendSemanticIndexOp(spec))
        change.fill()
        change.accept()
        change.switch()
        assert made.drift() is None
        change.finish()
    assert made.drift() is None

    before = made.schema()
    break_it(
        made,
        "DROP TRIGGER embedsql_article_search_insert_2 ON article",
        "DROP INDEX embedsql.article_search_chunk_2_lexemes",
        "ALTER FUNCTION embedsql.article_search_pending() SECURITY DEFINER",
    )
    assert operations_in(made.revise()) == ["repair_semantic_index"]
    made.upgrade()
    assert made.drift() is None
    assert made.schema() == before


def test_settings_that_are_kept_are_no_drift(made: Application) -> None:
    with connect(made.database) as connection:
        tuning = SearchTuning(candidates=30)
        store_tuning(connection, "article_search", {"candidates": 30})
        assert made.drift() is not None  # the function searches otherwise than the registry says
        index = find_index(connection, "article_search")
        for statement in function_statements(index.spec, index.names, tuning):
            connection.execute(statement.encode())
    assert made.drift() is None
