"""What an environment opts in to: our objects are left alone, its own filters are asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from pgvector.sqlalchemy import BIT, HALFVEC, SPARSEVEC, VECTOR
from sqlalchemy import Column, Index, MetaData
from sqlalchemy.types import TypeEngine

from embedsql.alembic import embedsql_hooks
from tests.migration.application import Application, article, declare, operations_in

IMPORTS = """
import alembic, alembic.operations, alembic.autogenerate.compare, alembic.autogenerate.render
def registered():
    return (
        len(alembic.autogenerate.compare.comparators._registry),
        len(alembic.autogenerate.render.renderers._registry),
        len(alembic.operations.Operations._to_impl._registry),
        sorted(vars(alembic.operations.Operations)),
    )
before = registered()
import embedsql, embedsql.alembic
assert registered() == before
embedsql.alembic.embedsql_hooks()
assert registered() != before
"""


def test_importing_changes_nothing_in_alembic() -> None:
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)


def test_declaring_imports_neither_alembic_nor_a_model_library() -> None:
    code = (
        "import sys, sqlalchemy as sa, embedsql\n"
        "table = sa.Table('a', sa.MetaData(), sa.Column('id', sa.Integer, primary_key=True))\n"
        "embedsql.SemanticIndex('a_search', table, text='words')\n"
        "assert not {'alembic', 'torch', 'sentence_transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("include_schemas", [False, True])
def test_our_objects_are_never_offered_for_dropping(
    new_application: Callable[..., Application], include_schemas: bool
) -> None:
    application = new_application(include_schemas=include_schemas)
    declare(article(application.metadata))
    application.revise()
    application.upgrade()
    assert application.drift() is None
    application.metadata = MetaData()
    article(application.metadata)
    assert operations_in(application.revise()) == ["drop_semantic_index"]


def test_without_the_hooks_declarations_are_not_compared(
    new_application: Callable[..., Application],
) -> None:
    application = new_application(hooks=dict)
    declare(article(application.metadata))
    assert operations_in(application.revise()) == ["create_table"]


def test_the_applications_own_filters_and_rendering_are_asked(
    new_application: Callable[..., Application],
) -> None:
    asked: list[tuple[str, str | None]] = []

    def include_name(name: str | None, type_: str, parents: Any) -> bool:
        asked.append((type_, name))
        return name not in ("secret", "secret_search")

    def include_object(item: Any, name: str, type_: str, reflected: bool, other: Any) -> bool:
        return name != "audit"

    def render_item(type_: str, item: Any, context: Any) -> Any:
        return "sa.LargeBinary()" if isinstance(item, HALFVEC) else False

    def hooks() -> dict[str, Any]:
        return embedsql_hooks(
            include_name=include_name, include_object=include_object, render_item=render_item
        )

    application = new_application(hooks=hooks)
    columns = [Column("one", HALFVEC(3)), Column("two", VECTOR(3))]
    declare(article(application.metadata, *columns))
    declare(article(application.metadata, name="secret"), "secret_search")
    declare(article(application.metadata, name="audit"), "audit_search")
    revision = application.revise()
    assert "sa.Column('one', sa.LargeBinary()" in revision
    assert "pgvector.sqlalchemy.VECTOR(dim=3)" in revision
    assert "secret_search" not in revision
    assert "audit_search" not in revision
    assert ("semantic_index", "article_search") in asked


def test_vector_types_are_written_with_their_import(application: Application) -> None:
    types: dict[str, TypeEngine[Any]] = {
        "v": VECTOR(3),
        "h": HALFVEC(4),
        "b": BIT(5),
        "s": SPARSEVEC(6),
    }
    columns: list[Column[Any]] = [Column(name, kind) for name, kind in types.items()]
    table = article(application.metadata, *columns)
    Index("v_ann", table.c.v, postgresql_using="hnsw", postgresql_ops={"v": "vector_cosine_ops"})
    application.write("op.execute('CREATE EXTENSION vector')")
    application.upgrade()
    revision = application.revise()
    assert revision.count("import pgvector.sqlalchemy") == 1
    application.upgrade()
    assert application.drift() is None
