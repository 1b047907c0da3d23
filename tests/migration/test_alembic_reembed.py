"""A model change in revisions: made, switched, taken back; online and offline."""

from __future__ import annotations

import io
from typing import Any

import psycopg
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from embedsql.alembic import register_operations
from embedsql.alembic.generations import (
    ReembedSemanticIndexOp,
    SwitchSemanticIndexOp,
)
from embedsql.registry import find_generations, find_index
from tests.factories import add_index, create_article_table, drain, verify_all

NAME = "article_search"
NEXT: dict[str, Any] = {
    "generation": 2,
    "key": {"id": "bigint"},
    "text": ["title", "body"],
    "model": "hash:96",
    "dimensions": 96,
    "quantization": "halfvec",
}


@pytest.fixture
def index(connection: psycopg.Connection, database: str) -> None:
    register_operations()
    create_article_table(connection)
    add_index(connection)
    connection.execute("INSERT INTO article (body) VALUES ('one'), ('two')")
    drain(database)


def run(engine: Engine, name: str, **options: Any) -> None:
    with engine.begin() as connection:
        operations = Operations(MigrationContext.configure(connection))
        getattr(operations, name)(NAME, "article", **(NEXT | options))


def mark_ready(connection: psycopg.Connection) -> None:
    connection.execute(
        "UPDATE embedsql.semantic_index SET state = 'ready' WHERE state = 'building'"
    )


@pytest.mark.usefixtures("index")
def test_revisions_make_the_next_generation_and_let_it_serve(
    connection: psycopg.Connection, database: str, sqlalchemy_engine: Engine
) -> None:
    run(sqlalchemy_engine, "reembed_semantic_index")
    with pytest.raises(DBAPIError, match='generation 2 of "article_search" is not ready'):
        run(sqlalchemy_engine, "switch_semantic_index")
    drain(database)
    mark_ready(connection)

    run(sqlalchemy_engine, "switch_semantic_index")

    assert find_index(connection, NAME).spec.vector_type == "halfvec(96)"
    assert connection.execute("SELECT FROM article_search").rowcount == 2
    assert verify_all(database).ok


@pytest.mark.usefixtures("index")
def test_both_can_be_reversed(
    connection: psycopg.Connection, database: str, sqlalchemy_engine: Engine
) -> None:
    run(sqlalchemy_engine, "reembed_semantic_index")
    drain(database)
    mark_ready(connection)
    run(sqlalchemy_engine, "switch_semantic_index")

    with sqlalchemy_engine.begin() as bound:
        operations = Operations(MigrationContext.configure(bound))
        made: list[Any] = []
        operations.invoke = made.append  # type: ignore[method-assign, assignment]
        SwitchSemanticIndexOp.invoke(operations, NAME, "article", **NEXT)
        ReembedSemanticIndexOp.invoke(operations, NAME, "article", **NEXT)
        del operations.invoke
        for operation in made:
            operations.invoke(operation.reverse())

    assert [one.generation for one in find_generations(connection, NAME)] == [1]
    assert find_index(connection, NAME).spec.vector_type == "vector(64)"
    assert verify_all(database).ok


@pytest.mark.usefixtures("index")
def test_the_sql_that_is_printed_offline_does_the_same(
    connection: psycopg.Connection, database: str
) -> None:
    printed = {}
    for name in ("reembed_semantic_index", "switch_semantic_index"):
        output = io.StringIO()
        options = {"as_sql": True, "output_buffer": output}
        context = MigrationContext.configure(dialect_name="postgresql", opts=options)
        getattr(Operations(context), name)(NAME, "article", **NEXT)
        printed[name] = output.getvalue()

    connection.execute(printed["reembed_semantic_index"].encode())
    drain(database)
    mark_ready(connection)
    connection.execute(printed["switch_semantic_index"].encode())

    assert find_index(connection, NAME).spec.vector_type == "halfvec(96)"
    assert verify_all(database).ok
