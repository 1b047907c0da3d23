"""Attacks by roles that may do little: nothing of ours does more for them than it should."""

from __future__ import annotations

from collections.abc import Iterator
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
from embedsql.doctor import diagnose
from embedsql.embedders.hashing import HashEmbedder
from tests.factories import add_index, create_article_table, drain, stored_chunks, verify_all

REFUSED = psycopg.errors.InsufficientPrivilege
ARTICLE = Table(
    "article", MetaData(), Column("id", BigInteger, primary_key=True), Column("tenant_id")
)
ARTICLE_SEARCH = SemanticIndex("article_search", ARTICLE, text=("title", "body"), model="hash:64")


@pytest.fixture
def hostile(connection: psycopg.Connection) -> Iterator[str]:
    """A role that may write articles and make objects of its own, in public and beside it."""
    name = f"hostile {uuid4().hex[:8]}"
    role = sql.Identifier(name)
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
    create_article_table(connection)
    for grant in (
        "GRANT ALL ON SCHEMA public TO {}",
        "GRANT ALL ON article TO {}",
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {}",
    ):
        connection.execute(sql.SQL(grant).format(role))
    yield name
    connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(role))
    connection.execute(sql.SQL("DROP ROLE {}").format(role))


def as_role(database: str, role: str) -> psycopg.Connection:
    return connect(make_conninfo(database, user=role))


# what a search_path that begins with public, or with the session's own schema, would find first
DECOYS = """
SET search_path = public, pg_catalog;
CREATE FUNCTION public.lie(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.lie);
CREATE OPERATOR public.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = public.lie);
CREATE FUNCTION public.lie(bigint, bigint) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false';
CREATE OPERATOR public.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = public.lie);
CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT 'epoch'::timestamptz $$;
CREATE FUNCTION public.pg_notify(text, text) RETURNS void LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'hijacked as %', current_user; END $$;
CREATE FUNCTION public.set_config(text, text, boolean) RETURNS text LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'hijacked as %', current_user; END $$;
CREATE TEMP TABLE article_search_log (seq bigint, key_1 bigint, at timestamptz);
CREATE TEMP TABLE article_search_chunk_1 (key_1 bigint, chunk_seq int);
CREATE TEMP TABLE semantic_index (name text);
"""


def test_decoys_on_the_search_path_change_nothing(
    connection: psycopg.Connection, database: str, hostile: str
) -> None:
    index = add_index(connection)
    with as_role(database, hostile) as attacker:
        attacker.execute(DECOYS)
        attacker.execute("INSERT INTO article (id, body) VALUES (1, 'first'), (2, 'second')")
        attacker.execute("UPDATE article SET body = 'changed' WHERE pg_catalog.int8eq(id, 1)")
        attacker.execute("DELETE FROM article WHERE pg_catalog.int8eq(id, 2)")
        attacker.execute("INSERT INTO article (id, body) VALUES (3, 'third')")
        found = attacker.execute("SELECT pg_catalog.count(*) FROM article_search_log").fetchone()
        assert found == (0,)  # the decoy's
    with connect(database) as owner:  # whose path finds the decoys first, too
        owner.execute("SET search_path = public, pg_catalog")
        waiting = owner.execute("SELECT key_1, chunk FROM embedsql.article_search_pending()")
        assert sorted(waiting.fetchall()) == [(1, "changed"), (3, "third")]
    drain(database)
    assert [chunk for _, chunk in stored_chunks(connection, index)] == ["changed", "third"]
    connection.execute("DROP OPERATOR public.= (text, text), public.<> (text, text)")
    assert verify_all(database).ok


def test_a_trigger_function_cannot_be_put_on_another_table(
    connection: psycopg.Connection, database: str, hostile: str
) -> None:
    index = add_index(connection)
    with as_role(database, hostile) as attacker:
        attacker.execute("CREATE TABLE mine (id bigint PRIMARY KEY, title text, body text)")
        for event in ("insert", "update", "delete", "truncate", "bulk_insert"):
            function = sql.Identifier("embedsql", index.names.trigger_function(event))
            attach = "CREATE TRIGGER t AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION {}()"
            with pytest.raises(REFUSED):
                attacker.execute(sql.SQL(attach).format(function))


def test_who_may_write_the_source_may_touch_nothing_of_ours(
    connection: psycopg.Connection, database: str, hostile: str
) -> None:
    index = add_index(connection)
    ours = connection.execute(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c "
        "JOIN pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE n.nspname = 'embedsql' AND c.relkind IN ('r', 'v')"
    ).fetchall()
    assert len(ours) > 8
    with as_role(database, hostile) as attacker:
        for (name,) in ours:
            for statement in ("SELECT FROM", "DELETE FROM", "TRUNCATE"):
                with pytest.raises(psycopg.Error) as refused:
                    attacker.execute(f"{statement} {name}".encode())
                assert refused.type is REFUSED or "permission denied" in str(refused.value)
        with pytest.raises(REFUSED):
            attacker.execute(sql.SQL("DROP VIEW {}").format(sql.Identifier(index.spec.name)))


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_tenants_see_their_own_rows_whichever_way_they_look(
    connection: psycopg.Connection, database: str, hostile: str, mode: str
) -> None:
    index = add_index(connection)
    connection.execute(
        "INSERT INTO article (tenant_id, body) SELECT n % 2, 'common words number ' || n "
        "FROM generate_series(1, 400) AS n"
    )
    drain(database)
    connection.execute("ALTER TABLE article ENABLE ROW LEVEL SECURITY")
    connection.execute("ALTER TABLE article FORCE ROW LEVEL SECURITY")
    connection.execute(
        "CREATE POLICY own ON article USING "
        "(tenant_id = nullif(current_setting('app.tenant', true), '')::int)"
    )
    result = CliRunner().invoke(app, ["grant", "search", hostile, "--database-url", database])
    assert result.exit_code == 0, result.output
    vector = HashEmbedder("hash:64").embed_queries(["common words"])[0]
    tenants = engine(make_conninfo(database, user=hostile))
    with Session(tenants) as session:
        for tenant in (0, 1):
            session.connection().exec_driver_sql(f"SET LOCAL app.tenant = '{tenant}'")
            found = session.execute(
                ARTICLE_SEARCH.search("common words", vector=vector, mode=mode, limit=300)  # type: ignore[arg-type]
            ).all()
            assert {row.tenant_id for row in found} == {tenant}
            assert len(found) == 200
            for relation in (f"embedsql.{index.names.chunk}", "article_search"):
                rows = session.connection().exec_driver_sql(f"SELECT count(*) FROM {relation}")
                assert rows.scalar() == 200
            session.rollback()
        unknown = session.connection().exec_driver_sql("SELECT count(*) FROM article_search")
        assert unknown.scalar() == 0
    tenants.dispose()


def test_policies_that_came_after_the_grant_hold_for_what_is_near_and_are_missed_by_the_doctor(
    connection: psycopg.Connection, database: str, hostile: str
) -> None:
    index = add_index(connection)
    connection.execute(
        "INSERT INTO article (id, tenant_id, body) VALUES (1, 1, 'a'), (2, 2, 'a b')"
    )
    drain(database)
    result = CliRunner().invoke(app, ["grant", "search", hostile, "--database-url", database])
    assert result.exit_code == 0, result.output
    chunks = sql.SQL("SELECT FROM {}").format(sql.Identifier("embedsql", index.names.chunk))
    near = ARTICLE_SEARCH.more_like(2)
    tenant = engine(make_conninfo(database, user=hostile))
    with Session(tenant) as session, as_role(database, hostile) as reader:
        assert len(session.execute(near).all()) == 1
        session.rollback()
        connection.execute("ALTER TABLE article ENABLE ROW LEVEL SECURITY")
        connection.execute("CREATE POLICY own ON article USING (tenant_id = 1)")

        # of a hidden row nothing is told, not even what it is like
        assert session.execute(near).all() == []
        session.rollback()
        (finding,) = [one for one in diagnose(connection) if "row-level" in one.finding]
        assert f"'{hostile}'" in finding.finding
        assert reader.execute(chunks).rowcount == 2
        connection.execute(finding.mend.encode())
        assert reader.execute(chunks).rowcount == 1
        assert [one for one in diagnose(connection) if "row-level" in one.finding] == []
    tenant.dispose()


@pytest.mark.parametrize(("guarded", "searched"), [("event", "north"), ("north", "event")])
def test_a_grant_tells_of_policies_that_do_not_hold_where_it_is_searched(
    connection: psycopg.Connection, database: str, hostile: str, guarded: str, searched: str
) -> None:
    connection.execute(
        "CREATE TABLE event (id int PRIMARY KEY, body text) PARTITION BY RANGE (id);"
        "CREATE TABLE north PARTITION OF event DEFAULT;"
        f"ALTER TABLE {guarded} ENABLE ROW LEVEL SECURITY".encode()
    )
    add_index(connection, searched, text=("body",))
    command = ["grant", "search", hostile, "--database-url", database]

    said = CliRunner().invoke(app, command).stderr
    assert f"that of {guarded} does not hold" in said

    connection.execute(f"ALTER TABLE {searched} ENABLE ROW LEVEL SECURITY".encode())
    assert "does not hold" not in CliRunner().invoke(app, command).stderr
