"""Whatever is declared, on whatever table: after an upgrade nothing is left to do."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, MetaData, String, Table, Text
from sqlalchemy.dialects.postgresql import TIMESTAMP, UUID
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, registry

from embedsql import Chunking, DeclarationError, Hnsw, IndexSpec, Ivfflat, SemanticIndex
from tests.everyday import cases
from tests.factories import drain, verify_all
from tests.migration.application import Application, article, declare, operations_in

VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "exact": {"index": "none"},
    "halfvec": {"quantization": "halfvec"},
    "wide halfvec": {"quantization": "halfvec", "model": "hash:2560", "dimensions": 2560},
    "ivfflat": {"index": "ivfflat"},
    "ivfflat lists": {"index": "ivfflat", "ivfflat": Ivfflat(lists=7)},
    "l2": {"metric": "l2"},
    "inner product": {"metric": "inner_product", "quantization": "halfvec"},
    "halfvec index": {"quantization": "halfvec", "stored": "vector"},
    "bit": {"quantization": "bit"},
    "bit over halfvec": {"quantization": "bit", "stored": "halfvec"},
    "int8": {"quantization": "int8"},
    "leading": {"index_dimensions": 32},
    "leading bits": {"quantization": "bit", "index_dimensions": 32},
    "leading int8": {"quantization": "int8", "index_dimensions": 32},
    "wide bits": {"quantization": "bit", "model": "hash:4096", "dimensions": 4096},
    "column": {"storage": "column"},
    "column of bits": {"storage": "column", "vector_column": "v e", "quantization": "bit"},
    "build options": {"hnsw": Hnsw(m=8, ef_construction=200)},
    "dense only": {"lexical": None},
    "simple": {"lexical": "simple"},
    "language by row": {"text": "body", "lexical_column": "title"},
    "index on words": {"lexical_index": "hnsw"},
    "heading weight": {"heading_weight": 1.5},
    "template": {"template": "{title}: it's 100 % {chunk} \\ $embedsql$ :colon"},
    "chunked": {"chunking": Chunking(tokens=64, overlap=8, markdown=True)},
    "whole": {"chunking": None},
    "prompts": {"query_prompt": "query: ", "document_prompt": 'a "passage": '},
    "quiet": {"notify": False},
    "replicated": {"replicated": True},
    "short": {"max_characters": 1000},
    "endpoint": {"model": "openai:m", "base_url": "http://localhost:1/v1"},
    "one column": {"text": "body"},
}


EVERYDAY = ("ivfflat", "int8", "index on words")


@pytest.mark.parametrize("name", cases(VARIANTS, *EVERYDAY))
def test_every_variant_is_quiet_after_an_upgrade(application: Application, name: str) -> None:
    declare(article(application.metadata), **VARIANTS[name])
    application.revise()
    application.upgrade()
    assert application.drift() is None
    if "base_url" not in VARIANTS[name]:
        with application.connected() as connection:
            connection.exec_driver_sql("INSERT INTO article VALUES (1, 'one', 'first')")
            connection.commit()
        drain(application.database)  # builds the vector index
        assert application.drift() is None
    made = application.schema()
    application.downgrade("base")
    application.upgrade()
    assert application.drift() is None
    assert "CREATE SCHEMA embedsql" in made


# every change beside the source and in a column of it; some together with another option's
CHANGES = cases(
    [
        *itertools.product(
            ("full", "column"), ("exact", "bit", "int8", "quiet", "one column", "index on words")
        ),
        ("halfvec", "bit"),
        ("halfvec", "quiet"),
        ("replicated", "int8"),
        ("replicated", "quiet"),
    ],
    ("full", "bit"),
    ("column", "exact"),
)


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_every_change_is_made_and_taken_back(
    application: Application, change: tuple[str, str]
) -> None:
    before, after = change
    declare(article(application.metadata), **VARIANTS[before])
    application.revise()
    application.upgrade()
    first = application.schema()
    application.metadata = MetaData()
    declare(article(application.metadata), **VARIANTS[after])
    assert operations_in(application.revise()) != []
    application.upgrade()
    assert application.drift() is None
    application.downgrade()
    assert application.schema() == first


HOSTILE = [
    '"; DROP TABLE article; --',
    "it's 100% %s {key} :name \\",
    "Straße " * 7,
    "x" * 63,
    "a.b",
]


@pytest.mark.parametrize("name", cases(HOSTILE, HOSTILE[0]))
def test_hostile_names_are_names(new_application: Callable[..., Application], name: str) -> None:
    application = new_application(include_schemas=True)
    table = Table(
        "My " + name[:50],
        application.metadata,
        Column("Key " + name[:20], BigInteger, primary_key=True, autoincrement=False),
        Column("Text " + name[:20], Text),
        schema="Schema " + name[:20],
    )
    declare(table, name, text="Text " + name[:20])
    quoted = '"Schema ' + name[:20].replace('"', '""') + '"'
    with application.connected() as connection:
        connection.exec_driver_sql(
            f"CREATE SCHEMA {quoted}", execution_options={"no_parameters": True}
        )
        connection.commit()
    application.revise()
    application.upgrade()
    assert application.drift() is None
    first = application.schema()
    drain(application.database)
    assert application.drift() is None
    application.downgrade("base")
    application.upgrade()
    assert application.schema() == first


def test_two_indexes_on_one_table_are_told_apart(application: Application) -> None:
    table = article(application.metadata)
    declare(table, "titles", text="title")
    declare(table, "bodies", text="body", quantization="halfvec")
    revision = application.revise()
    assert operations_in(revision)[2:] == ["create_semantic_index", "create_semantic_index"]
    application.upgrade()
    assert application.drift() is None
    application.metadata = MetaData()
    declare(article(application.metadata), "bodies", text="body", quantization="halfvec")
    revision = application.revise()
    assert operations_in(revision) == ["drop_semantic_index"]
    assert "'titles'" in revision
    assert "'bodies'" not in revision


@pytest.mark.exhaustive
def test_names_that_are_cut_stay_apart(application: Application) -> None:
    table = article(application.metadata)
    for last in "ab":
        declare(table, "n" * 62 + last, text="title")
    application.revise()
    application.upgrade()
    assert application.drift() is None
    with application.connected() as connection:
        connection.exec_driver_sql("INSERT INTO article VALUES (1, 'one', 'first')")
        connection.commit()
    assert drain(application.database).saved == 2
    assert verify_all(application.database).ok
    assert application.drift() is None


def test_one_table_mapped_by_two_classes_has_one_index(application: Application) -> None:
    metadata = MetaData()
    table = article(metadata)

    class Whole:
        pass

    class Title:
        pass

    registry(metadata=metadata).map_imperatively(Whole, table)
    registry(metadata=metadata).map_imperatively(Title, table)
    first, second = declare(Whole), declare(Title)
    application.metadata = metadata
    assert operations_in(application.revise()).count("create_semantic_index") == 1
    application.upgrade()
    assert application.drift() is None
    assert first.spec == second.spec
    declare(Title, lexical=None)
    with pytest.raises(DeclarationError, match="declared twice"):
        application.drift()


def test_declarations_of_several_metadata_are_seen(
    new_application: Callable[..., Application],
) -> None:
    application = new_application(include_schemas=True)
    one, other = MetaData(), MetaData(schema="elsewhere")
    declare(article(one))
    declare(article(other, name="essay"), "essay_search")
    with application.connected() as connection:
        connection.exec_driver_sql("CREATE SCHEMA elsewhere")
        connection.commit()
    application.metadata = [one, other]
    revision = application.revise()
    assert operations_in(revision).count("create_semantic_index") == 2
    assert "schema='elsewhere'" in revision
    application.upgrade()
    assert application.drift() is None


def test_a_mapped_class_of_joined_inheritance_is_its_own_table(application: Application) -> None:
    class Base(DeclarativeBase):
        pass

    class Document(Base):
        __tablename__ = "document"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Letter(Document):
        __tablename__ = "letter"
        id: Mapped[int] = mapped_column(ForeignKey("document.id"), primary_key=True)
        words: Mapped[str]

    declare(Letter, "letter_search", text="words")
    application.metadata = Base.metadata
    application.revise()
    application.upgrade()
    assert application.drift() is None


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (UUID(), "uuid"),
        (String(36), "character varying(36)"),
        (String(), "character varying"),
        (Integer(), "integer"),
        (TIMESTAMP(timezone=True), "timestamp with time zone"),
    ],
)
def test_key_types_are_spelled_as_the_server_does(
    application: Application, key: Any, said: str
) -> None:
    table = Table("note", application.metadata, Column("id", key, primary_key=True))
    table.append_column(Column("words", Text))
    declare(table, "note_search", text="words")
    assert f"key={{'id': '{said}'}}" in application.revise()
    application.upgrade()
    assert application.drift() is None


def test_a_partitioned_table_is_seen_as_one(application: Application) -> None:
    table = article(application.metadata, postgresql_partition_by="RANGE (id)")
    declare(table)
    revision = application.revise()
    assert "partitioned=True" in revision
    application.upgrade()
    assert application.drift() is None


def test_a_table_that_was_partitioned_by_hand_is_seen_as_one(application: Application) -> None:
    with application.connected() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE article (id bigint PRIMARY KEY, title text, body text) "
            "PARTITION BY RANGE (id)"
        )
        connection.commit()
    declare(article(application.metadata))
    assert "partitioned=True" in application.revise()
    application.versions.joinpath("0001_change.py").unlink()
    application.write(
        "op.install_embedsql(version=1)\n    "
        "op.create_semantic_index('article_search', 'article', key={'id': 'bigint'}, "
        "text=['title', 'body'], model='hash:64', dimensions=64)"
    )
    application.upgrade()
    assert application.drift() is None


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("CREATE VIEW article AS SELECT 1::bigint AS id, '' AS title, '' AS body", "a view"),
        (
            "CREATE MATERIALIZED VIEW article AS SELECT 1::bigint AS id, '' AS title, '' AS body",
            "a materialized view",
        ),
        (
            "CREATE FOREIGN TABLE article (id bigint, title text, body text) SERVER away",
            "a foreign table",
        ),
    ],
)
def test_what_is_no_table_is_refused(application: Application, statement: str, what: str) -> None:
    with application.connected() as connection:
        connection.exec_driver_sql("CREATE EXTENSION postgres_fdw")
        connection.exec_driver_sql("CREATE SERVER away FOREIGN DATA WRAPPER postgres_fdw")
        connection.exec_driver_sql(statement)
        connection.commit()
    declare(article(application.metadata))
    with pytest.raises(DeclarationError, match=f"is {what}: a semantic index needs a table"):
        application.revise()
    application.write(
        "op.install_embedsql(version=1)\n    "
        "op.create_semantic_index('article_search', 'article', key={'id': 'bigint'}, "
        "text=['title', 'body'], model='hash:64', dimensions=64)"
    )
    with pytest.raises(DeclarationError, match=f"is {what}: a semantic index needs a table"):
        application.upgrade()


def test_dimensions_left_out_are_the_models(application: Application) -> None:
    declare(article(application.metadata), dimensions=None)
    assert "dimensions=64" in application.revise()
    application.upgrade()
    assert application.drift() is None


def test_a_model_that_is_still_the_same_is_not_loaded(application: Application) -> None:
    declare(article(application.metadata))
    application.revise()
    application.upgrade()
    with application.connected() as connection:
        connection.exec_driver_sql(
            "UPDATE embedsql.semantic_index "
            """SET declaration = declaration || '{"model": "sentence-transformers/none/such"}'"""
        )
        connection.commit()
    application.metadata = MetaData()
    table = article(application.metadata)
    declare(table, model="sentence-transformers/none/such", dimensions=None)
    assert application.drift() is None


@pytest.mark.parametrize(
    "change",
    cases(
        [
            ("full", "bit"),
            ("bit", "leading bits"),
            ("full", "halfvec index"),
            ("full", "l2"),
            ("full", "ivfflat lists"),
            ("ivfflat lists", "exact"),
            ("exact", "full"),
            ("column", "column of bits"),
            ("full", "index on words"),
            ("index on words", "bit"),
        ],
        ("full", "bit"),
        ("ivfflat lists", "exact"),
        ("column", "column of bits"),
        ("full", "index on words"),
    ),
    ids=str,
)
@pytest.mark.exhaustive
def test_what_the_index_alone_sees_costs_no_vectors(
    application: Application, change: tuple[str, str]
) -> None:
    before, after = change
    options = {name: VARIANTS[name] | {"vector_column": "v"} for name in (before, after)}
    declare(article(application.metadata), **options[before])
    application.revise()
    application.upgrade()
    with application.connected() as connection:
        connection.exec_driver_sql("INSERT INTO article VALUES (1, 'one', 'first')")
        connection.commit()
    drain(application.database)
    application.metadata = MetaData()
    declare(article(application.metadata), **options[after])
    assert operations_in(application.revise()) == ["rebuild_vector_index"]
    application.upgrade()
    assert drain(application.database).saved == 0
    assert application.drift() is None
    assert verify_all(application.database).ok


def test_every_field_of_a_declaration_can_be_declared() -> None:
    """A field that a ``SemanticIndex`` lacks could never be compared."""
    fields = {field.name for field in dataclasses.fields(IndexSpec)} - {"table", "schema", "key"}
    assert fields <= {field.name for field in dataclasses.fields(SemanticIndex)}
