"""Bad input gets one clear line and exit code 1 or 2, and nothing half done."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.acceptance.conftest import Embedsql
from tests.factories import create_article_table
from tests.unit.embedding_server import closed_port

ADD = ("add", "article", "--text", "body", "--model", "hash:64")


@pytest.fixture
def article(connection: psycopg.Connection, embedsql: Embedsql) -> Embedsql:
    create_article_table(connection)
    return embedsql


def refused(embedsql: Embedsql, *arguments: str) -> str:
    result = embedsql.run(*arguments, exit_code=1)
    assert result.stdout == ""
    assert result.stderr.startswith("embedsql: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.mark.exhaustive
def test_bad_arguments_are_refused(article: Embedsql, connection: psycopg.Connection) -> None:
    for arguments, said in [
        (("add", "nosuch", "--text", "body"), "no table 'nosuch'"),
        (("add", "article", "--text", "nope"), "no column 'nope'; it has id, tenant_id"),
        ((*ADD[:-1], "wrong"), "unknown model 'wrong'"),
        ((*ADD[:-1], "hash:0"), "unknown model 'hash:0'"),
        ((*ADD[:-1], "hash:2001"), "at most 2000 dimensions"),
        ((*ADD, "--dimensions", "32"), "64 dimensions, not 32"),
        ((*ADD, "--lexical", "klingon"), "no text-search configuration 'klingon'"),
        ((*ADD, "--name", "article"), "the name 'article' is taken"),
        ((*ADD, "--name", "n" * 64), "longer than 63 bytes"),
        ((*ADD, "--template", "{title}: {chunk}"), "it may name: body, chunk, heading"),
        ((*ADD, "--template", "about"), "must say {chunk} once"),
        (("drop", "nosuch"), "no semantic index 'nosuch'"),
        (("search", "nosuch", "x"), "no semantic index 'nosuch'"),
    ]:
        assert said in refused(article, *arguments)
    left = connection.execute(
        "SELECT (SELECT count(*) FROM embedsql.semantic_index), "
        "(SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal)"
    ).fetchone()
    assert left == (0, 0)


def test_a_database_without_the_kit_is_named(empty_database: str) -> None:
    name = psycopg.conninfo.conninfo_to_dict(empty_database)["dbname"]

    said = refused(Embedsql(empty_database), "status")
    assert f"not installed in the database '{name}' of " in said


def test_a_server_that_is_not_there_is_told_in_one_line(article: Embedsql) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    model = ("--model", "openai:small", "--base-url", url)

    assert f"{url}/v1 does not answer" in refused(article, *ADD[:4], *model)


def test_bad_usage_exits_with_2(embedsql: Embedsql) -> None:
    for arguments in (
        ("add", "article"),
        ("search", "x", "y", "-k", "0"),
        ("search", "x", "y", "--mode", "magic"),
        ("nosuch",),
        ("worker", "--batch-size", "none"),
        ("add", "article", "--text", "body", "--no-chunking", "--chunk-tokens", "64"),
        ("add", "article", "--text", "body", "--chunk-tokens", "64", "--chunk-overlap", "60"),
    ):
        assert embedsql.run(*arguments, exit_code=2).stdout == ""


def test_table_without_primary_key_or_a_view_is_refused(
    article: Embedsql, connection: psycopg.Connection
) -> None:
    connection.execute("CREATE TABLE keyless (body text)")
    connection.execute("CREATE VIEW looks AS SELECT * FROM article")
    assert "has no primary key" in refused(article, "add", "keyless", "--text", "body")
    assert "is a view" in refused(article, "add", "looks", "--text", "body")


def test_bad_queries_are_refused(article: Embedsql) -> None:
    article.run(*ADD)
    assert "the query is empty" in refused(article, "search", "article_search", " ")
    article.run("search", "article_search", "x" * 100_000)
    assert "already" in refused(article, *ADD)
    assert 'column "nope"' in refused(article, "search", "article_search", "x", "--where", "nope")


def test_bad_database_is_told(embedsql: Embedsql, empty_database: str) -> None:
    down = "postgresql://me:secret@127.0.0.1:1/x"
    message = refused(embedsql, "status", "--database-url", down)
    assert "cannot connect" in message
    assert "secret" not in message
    assert "needs PostgreSQL" in refused(embedsql, "status", "--database-url", "mysql://x/y")
    assert "cannot be read" in refused(embedsql, "status", "--database-url", "what is this")
    not_installed = refused(embedsql, "worker", "--database-url", empty_database)
    assert "embedsql install" in not_installed


def test_missing_or_old_pgvector_is_told(
    embedsql: Embedsql, connection: psycopg.Connection, empty_database: str
) -> None:
    connection.execute("UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")
    assert "pgvector 0.7.4 is too old" in refused(embedsql, "install")
    with psycopg.connect(empty_database, autocommit=True) as admin:
        admin.execute("DROP ROLE IF EXISTS embedsql_test_plain")
        admin.execute("CREATE ROLE embedsql_test_plain LOGIN")
        try:
            plain = psycopg.conninfo.make_conninfo(empty_database, user="embedsql_test_plain")
            message = refused(embedsql, "install", "--database-url", plain)
            assert "CREATE EXTENSION vector" in message
            assert admin.execute("SELECT to_regnamespace('embedsql')").fetchone() == (None,)
        finally:
            admin.execute("DROP ROLE embedsql_test_plain")


def test_a_role_that_may_not_is_told_whose_the_commands_are(
    article: Embedsql, connection: psycopg.Connection
) -> None:
    article.run(*ADD)
    connection.execute("CREATE ROLE embedsql_test_reader LOGIN")
    try:
        granted = article.run("grant", "search", "embedsql_test_reader")
        url = psycopg.conninfo.make_conninfo(article.url, user="embedsql_test_reader")
        said = refused(article, "status", "--database-url", url)
    finally:
        connection.execute("DROP OWNED BY embedsql_test_reader; DROP ROLE embedsql_test_reader")

    assert granted.stderr == "embedsql_test_reader may now search: article_search\n"
    assert "permission denied" in said
    assert "run this as the indexes' owner; embedsql grant gives" in said


def test_malformed_files_are_named_with_their_line(article: Embedsql, tmp_path: Path) -> None:
    article.run(*ADD)
    queries, qrels = tmp_path / "q.jsonl", tmp_path / "r.tsv"
    arguments = ("eval", "article_search", "--queries", str(queries), "--qrels", str(qrels))
    assert "r.tsv cannot be read" in refused(article, *arguments)
    qrels.write_text("1\t1\t1\n")
    queries.write_text('{"id": "1", "text": "x"}\n{"id": "2", "te\n')
    assert "q.jsonl, line 2" in refused(article, *arguments)
    qrels.write_text("1\t1\n")
    assert "r.tsv, line 1" in refused(article, *arguments)


def test_newer_schema_is_refused_politely(
    embedsql: Embedsql, connection: psycopg.Connection
) -> None:
    connection.execute("UPDATE embedsql.installation SET version = 99")
    assert "newer than this release" in refused(embedsql, "worker", "--drain")
