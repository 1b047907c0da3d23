"""Roles that own nothing: a worker's and a search's grants suffice, and none is superfluous."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from sqlalchemy import BigInteger, Column, MetaData, Table
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from embedsql import SemanticIndex
from embedsql.cli import app
from embedsql.database import connect, engine
from embedsql.errors import ConfigurationError, ExtensionError, TextRejectedError
from embedsql.grants import Purpose, grant_statements, missing_grants
from embedsql.mailbox import AWAIT, POST
from embedsql.registry import RegisteredIndex, find_index
from embedsql.status import queue_status
from tests.factories import (
    RecordingEmbedder,
    add_index,
    create_article_table,
    drain,
    stored_chunks,
    verify_all,
)

SPECIMEN = Table("article", MetaData(), Column("id", BigInteger, primary_key=True))
ARTICLE_SEARCH = SemanticIndex("article_search", SPECIMEN, text=("title", "body"), model="hash:64")
INSUFFICIENT = psycopg.errors.InsufficientPrivilege
# what every role holds as a member of PUBLIC, taken away, so that our own grants are what is tested
HARDENED = (
    "REVOKE ALL ON SCHEMA public FROM PUBLIC",
    "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA embedsql FROM PUBLIC",
)


@pytest.fixture
def role(connection: psycopg.Connection) -> Iterator[str]:
    """A role that may do nothing, with a name that needs quoting everywhere."""
    name = f"""w"o'r;-- %s {{}} {uuid4().hex[:8]}"""
    quoted = sql.Identifier(name)
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(quoted))
    yield name
    connection.execute(sql.SQL("DROP OWNED BY {}").format(quoted))
    connection.execute(sql.SQL("DROP ROLE {}").format(quoted))


@pytest.fixture
def index(connection: psycopg.Connection) -> RegisteredIndex:
    """Three articles, logged, and a database where PUBLIC may do nothing."""
    create_article_table(connection)
    connection.execute("CREATE TABLE secret AS SELECT 1 AS n")
    connection.execute("INSERT INTO article (body) VALUES ('amber'), ('birch'), ('cedar')")
    connection.execute("ALTER TABLE article ADD COLUMN language text DEFAULT 'simple'")
    found = add_index(connection, lexical_column="language")
    # pgvector's types and functions are in public, too; only the schema is taken away
    for statement in HARDENED:
        connection.execute(statement)
    return found


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> RecordingEmbedder:
    """The worker's embedder refuses the word poison for good."""
    embedder = RecordingEmbedder(poison="poison", error=TextRejectedError("poison"))
    monkeypatch.setattr("embedsql.worker.lanes.load_embedder", lambda model, options: embedder)
    return embedder


# what a worker reads for its metrics alone
METRICS = r"index_status|\(\"?(source_schema|source_table|log_table|batch_table|row_table)\"?\)"


def as_role(database: str, role: str) -> str:
    return make_conninfo(database, user=role)


def let(
    connection: psycopg.Connection, index: RegisteredIndex, role: str, purpose: Purpose
) -> None:
    for statement in grant_statements(index.spec, role, purpose, index.names):
        connection.execute(statement.encode())


def single(grants: list[str]) -> list[str]:
    """One GRANT for each privilege on each table or column."""
    found = []
    for grant in grants:
        columns = re.match(r"GRANT (\w+) \((.*?)\) (.*)", grant, re.DOTALL)
        if columns is None:
            found.append(grant)
        else:
            word, names, rest = columns.groups()
            found += [f"GRANT {word} ({name}) {rest}" for name in names.split(", ")]
    return found


def revoked(grant: str) -> str:
    before, _, role = grant.rpartition(" TO ")
    return f"REVOKE {before.removeprefix('GRANT ')} FROM {role}"


def refused(conninfo: str, statements: list[str]) -> None:
    with connect(conninfo) as connection:
        for statement in statements:
            with pytest.raises(INSUFFICIENT):
                connection.execute(statement.encode())


def search_everything(conninfo: str) -> None:
    """All three modes, the view, the function, and what asks a worker."""
    made = engine(conninfo)
    try:
        with Session(made) as session:
            for mode in ("dense", "lexical", "hybrid"):
                for words in ("amber", "+amber -birch a-1"):
                    rows = session.execute(ARTICLE_SEARCH.search(words, mode=mode)).all()
                    assert rows[0].id == 1
                    assert rows[0].hit.snippet == "amber"
            marked = session.execute(ARTICLE_SEARCH.search("amber", highlight=True)).all()
            assert marked[0].hit.highlight == "<mark>amber</mark>"
            view = "SELECT id, chunk FROM public.article_search ORDER BY id"
            assert session.connection().exec_driver_sql(view).all()[0] == (1, "amber")
            function = "SELECT id FROM public.article_search('amber', mode => 'lexical')"
            assert session.connection().exec_driver_sql(function).all() == [(1,)]
            session.execute(POST, {"index": "article_search", "query": "amber"})
            session.execute(AWAIT, {"index": "article_search", "query": "amber", "wait_ms": 0})
    finally:
        made.dispose()


def test_worker_role_embeds_whatever_changes(
    connection: psycopg.Connection,
    database: str,
    index: RegisteredIndex,
    role: str,
    poisoned: RecordingEmbedder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    let(connection, index, role, "worker")
    assert missing_grants(connection, index.spec, "worker", index.names, role) == []
    connection.execute("UPDATE embedsql.semantic_index SET backfill_since = now()")
    worker = as_role(database, role)
    caplog.set_level(logging.WARNING, "embedsql.vector_index")

    assert drain(worker).saved == 3
    connection.execute("INSERT INTO article (body) VALUES ('amber'), ('poison')")
    connection.execute("UPDATE article SET body = 'delta' WHERE id = 2")
    connection.execute("DELETE FROM article WHERE id = 3")
    report = drain(worker)

    assert (report.reused, report.removed, report.failed, report.problems) == (1, 1, 1, {})
    assert stored_chunks(connection, index) == [
        (1, "amber"),
        (2, "delta"),
        (4, "amber"),
        (5, "poison"),  # without its vector
    ]
    connection.execute("UPDATE article SET body = 'ember' WHERE body = 'poison'")
    assert drain(worker).saved == 1
    assert verify_all(database).ok
    # what it may not: build the vector index, which is said once
    said = [record for record in caplog.records if record.name == "embedsql.vector_index"]
    assert len(said) == 1
    assert "CREATE INDEX CONCURRENTLY" in said[0].getMessage()
    refused(
        worker,
        [
            "SELECT * FROM secret",
            "UPDATE article SET body = ''",
            "DELETE FROM article",
            "TRUNCATE embedsql.article_search_chunk_1",
            "UPDATE embedsql.failure SET key = '1'",
            "DELETE FROM embedsql.semantic_index",
            "UPDATE embedsql.semantic_index SET declaration = '{}'",
            "CREATE TABLE embedsql.mine ()",
        ],
    )
    drain(database)
    assert connection.execute(
        "SELECT to_regclass('embedsql.article_search_chunk_1_ann') IS NOT NULL"
    ).fetchone() == (True,)


def work_left(connection: psycopg.Connection, round_: int) -> None:
    """A row of each kind of work, none of it held by a worker that failed before."""
    connection.execute("DELETE FROM embedsql.article_search_batch")
    connection.execute(
        "UPDATE embedsql.semantic_index SET backfill_since = now(), problem = NULL, "
        "calibrated_chunks = NULL, average_length = NULL, configurations = NULL"
    )
    connection.execute("INSERT INTO article (body) VALUES (%s), ('poison')", [f"text ORA-{round_}"])
    connection.execute("UPDATE article SET body = %s WHERE id = 1", [f"edit {round_}"])


@pytest.mark.exhaustive
def test_worker_measures_the_queue(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, role: str
) -> None:
    connection.execute("REVOKE EXECUTE ON FUNCTION embedsql.index_status FROM PUBLIC")
    let(connection, index, role, "worker")
    with connect(as_role(database, role)) as working:
        (found,) = queue_status(working)
    assert found.index == "article_search"


def test_worker_without_any_one_of_its_privileges_names_the_grant(
    connection: psycopg.Connection,
    database: str,
    index: RegisteredIndex,
    role: str,
    poisoned: RecordingEmbedder,
) -> None:
    grants = single(missing_grants(connection, index.spec, "worker", index.names, role))
    assert len(grants) > 30
    let(connection, index, role, "worker")
    assert drain(as_role(database, role)).problems == {}
    in_full = 0
    for round_, grant in enumerate(grants):
        work_left(connection, round_)
        connection.execute(revoked(grant).encode())
        try:
            report = drain(as_role(database, role))
        except (
            psycopg.ProgrammingError,
            ExtensionError,
        ):  # the registry itself: nowhere to leave the message
            assert re.search("installation|semantic_index|bulk_insert|SCHEMA", grant), grant
        else:
            # nobody sees the worker, it answers no queries, or gives no metrics; its work goes on
            if re.search(f'"worker"|"query_|{METRICS}', grant):
                assert report.problems == {}
                connection.execute(grant.encode())
                continue
            problem = report.problems.get("article_search")
            assert problem is not None, f"nothing needs {grant}"
            assert "permission denied" in problem
            assert "embedsql grant worker" in problem
            stored = find_index(connection, "article_search").problem
            assert stored == problem, grant
            in_full += grant in problem
        connection.execute(grant.encode())
    # what is refused while a batch is worked on is named to the letter
    assert in_full >= 8
    work_left(connection, len(grants))
    assert drain(as_role(database, role)).problems == {}
    verdict = verify_all(database)
    assert (verdict.missing, verdict.stale, verdict.pending) == (verdict.dead, 0, 0)  # poison


def test_worker_that_lost_its_source_names_the_grant_and_goes_on_after_it(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, role: str
) -> None:
    let(connection, index, role, "worker")
    connection.execute(sql.SQL("REVOKE SELECT ON article FROM {}").format(sql.Identifier(role)))

    problem = drain(as_role(database, role)).problems["article_search"]

    quoted = sql.Identifier(role).as_string(None)
    grant = f'GRANT SELECT ON "public"."article" TO {quoted};'
    assert problem.endswith(
        "permission denied for table article (the owner mends it: embedsql grant worker ROLE); "
        f"missing: {grant}"
    )
    connection.execute(grant.encode())
    assert drain(as_role(database, role)).saved == 3
    assert find_index(connection, "article_search").problem is None


def test_row_that_a_policy_hides_is_not_taken_for_deleted(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, role: str
) -> None:
    drain(database)
    stored = stored_chunks(connection, index)
    connection.execute("ALTER TABLE article ENABLE ROW LEVEL SECURITY")
    result = CliRunner().invoke(app, ["grant", "worker", role, "--database-url", database])
    assert "BYPASSRLS" in result.stderr
    connection.execute("UPDATE article SET body = 'x'")

    problem = drain(as_role(database, role)).problems["article_search"]

    assert "BYPASSRLS" in problem
    assert "embedsql grant" not in problem
    assert stored_chunks(connection, index) == stored


@pytest.mark.exhaustive
def test_search_role_searches_and_sees_nothing_else(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, role: str
) -> None:
    drain(database)
    grants = single(missing_grants(connection, index.spec, "search", index.names, role))
    let(connection, index, role, "search")
    searcher = as_role(database, role)

    search_everything(searcher)

    refused(
        searcher,
        [
            "SELECT tenant_id FROM article",
            "SELECT * FROM embedsql.article_search_batch",
            "SELECT * FROM embedsql.article_search_row_1",
            "SELECT * FROM embedsql.failure",
            "SELECT * FROM embedsql.dead_letter",
            "SELECT declaration FROM embedsql.semantic_index",
            "DELETE FROM embedsql.article_search_chunk_1",
        ],
    )
    for grant in grants:
        if "require_serving" in grant:  # needed after a model change: see test_reembed_switch
            continue
        connection.execute(revoked(grant).encode())
        with pytest.raises(Exception, match=r"permission denied|does not exist"):
            search_everything(searcher)
        connection.execute(grant.encode())
    search_everything(searcher)


@pytest.mark.parametrize("purpose", ["worker", "search"])
def test_command_grants_or_prints(
    connection: psycopg.Connection,
    database: str,
    index: RegisteredIndex,
    role: str,
    purpose: Purpose,
) -> None:
    def grant(conninfo: str, to: str, *more: str) -> Any:
        return CliRunner().invoke(app, ["grant", purpose, to, "--database-url", conninfo, *more])

    printed = grant(database, role, "--sql")
    assert printed.stdout.split("\n\n")[:-1] == grant_statements(index.spec, role, purpose)
    assert missing_grants(connection, index.spec, purpose, role=role) != []
    granted = grant(database, role, "--index", "article_search")
    assert granted.exit_code == 0, granted.output
    assert missing_grants(connection, index.spec, purpose, role=role) == []
    nobody = grant(database, "no such role")
    assert isinstance(nobody.exception, ConfigurationError)
    assert "there is no role 'no such role'" in str(nobody.exception)


def test_command_by_a_role_that_may_not_grant_says_so(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, role: str
) -> None:
    let(connection, index, role, "worker")
    other = f"embedsql_test_{uuid4().hex[:8]}"
    connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(other)))
    try:
        arguments = ["grant", "worker", other, "--database-url", as_role(database, role)]
        result = CliRunner().invoke(app, arguments)
        assert isinstance(result.exception, ConfigurationError)
        assert "the owner may: GRANT" in str(result.exception)
    finally:
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(other)))


@pytest.mark.parametrize("name", ["public", "none", "", "a\0b", "é" * 32])
def test_name_that_postgresql_would_read_otherwise_is_refused(
    index: RegisteredIndex, name: str
) -> None:
    with pytest.raises(ConfigurationError, match="cannot be a role's name"):
        grant_statements(index.spec, name, "worker")


def test_a_search_role_of_an_index_without_words_reads_no_texts(
    connection: psycopg.Connection, database: str, role: str
) -> None:
    create_article_table(connection)
    connection.execute("INSERT INTO article (body) VALUES ('amber')")
    index = add_index(connection, lexical=None)
    drain(database)
    granted = CliRunner().invoke(app, ["grant", "search", role, "--database-url", database])
    assert granted.exit_code == 0, granted.output
    searcher = as_role(database, role)
    refused(searcher, ["SELECT body FROM article", "SELECT * FROM embedsql.article_search_log"])
    with connect(searcher) as opened:
        vector = str([0.1] * index.spec.dimensions)
        found = opened.execute("SELECT id FROM article_search('amber', 1, 'dense', %s)", [vector])
        assert found.fetchall() == [(1,)]


def test_roles_of_an_index_on_lexical_weights_need_what_it_is_of(
    connection: psycopg.Connection, database: str, role: str
) -> None:
    create_article_table(connection)
    connection.execute("INSERT INTO article (body) VALUES ('amber'), ('birch')")
    index = add_index(connection, lexical_index="hnsw")
    for statement in HARDENED:
        connection.execute(statement)
    drain(database)
    due = missing_grants(connection, index.spec, "worker", index.names, role)
    own = [grant for grant in due if "_terms" in grant]
    let(connection, index, role, "worker")
    connection.execute("INSERT INTO article (body) VALUES ('cedar')")
    assert drain(as_role(database, role)).problems == {}
    let(connection, index, role, "search")
    ask = "SELECT id FROM article_search('cedar', 10, 'lexical')"
    assert len(own) == 2
    for grant in own:
        with connect(as_role(database, role)) as searcher:
            assert len(searcher.execute(ask).fetchall()) == 1
        connection.execute(revoked(grant).encode())
        connection.execute("INSERT INTO article (body) VALUES ('cedar')")
        problem = drain(as_role(database, role)).problems["article_search"]
        assert "embedsql grant worker" in problem
        with connect(as_role(database, role)) as searcher, pytest.raises(INSUFFICIENT):
            searcher.execute(ask)
        connection.execute(grant.encode())
        assert drain(as_role(database, role)).problems == {}
        connection.execute("DELETE FROM article WHERE body = 'cedar' AND id > 3")
        drain(as_role(database, role))
