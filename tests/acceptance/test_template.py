"""A template and Markdown, from the command line to the search."""

from __future__ import annotations

import psycopg

from tests.acceptance.conftest import Embedsql
from tests.factories import create_article_table

BODY = "# Install\n\n## From source\n\n" + "Take the archive and run make in it. " * 20


def test_an_index_with_a_template_is_added_drained_and_searched(
    embedsql: Embedsql, connection: psycopg.Connection
) -> None:
    create_article_table(connection)
    connection.execute("INSERT INTO article (title, body) VALUES ('Zeppelin', %s)", [BODY])
    columns = ("--text", "title", "--text", "body", "--template", "{title} ({heading}): {chunk}")
    embedsql.run("add", "article", *columns, "--model", "hash:64", "--chunk-tokens", "64")
    embedsql.run("worker", "--drain")

    stored = connection.execute(
        "SELECT template, (SELECT array_agg(chunk ORDER BY chunk_seq) FROM article_search) "
        "FROM embedsql.semantic_index, jsonb_to_record(declaration) AS d (template text)"
    ).fetchone()
    assert stored is not None
    template, chunks = stored
    assert template == "{title} ({heading}): {chunk}"
    assert len(chunks) > 2
    assert all("Zeppelin" not in chunk and chunk in BODY for chunk in chunks)
    found = embedsql.json("search", "article_search", "zeppelin", "--mode", "lexical")
    assert [hit["key"] for hit in found["hits"]] == [1]
    assert embedsql.json("verify")["ok"]


def test_markdown_is_denied_from_the_command_line(
    embedsql: Embedsql, connection: psycopg.Connection
) -> None:
    create_article_table(connection)
    add = ("add", "article", "--text", "body", "--model", "hash:64")
    embedsql.run(*add, "--no-markdown")
    stored = connection.execute(
        "SELECT declaration -> 'chunking' -> 'markdown' FROM embedsql.semantic_index"
    ).fetchone()

    assert stored == (False,)
    said = embedsql.run(*add, "--name", "other", "--no-chunking", "--markdown", exit_code=2).stderr
    assert "excludes" in said
