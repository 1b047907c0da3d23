"""Each finding of the doctor: provoked on a real server, and gone once its own ``mend`` has run."""

from __future__ import annotations

import shlex
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from typer.testing import CliRunner

from embedsql import sqlfile
from embedsql.cli import app
from embedsql.database import connect, conninfo
from embedsql.doctor import Finding, Limits, diagnose, is_healthy
from embedsql.installation import install
from embedsql.registry import RegisteredIndex
from embedsql.status import index_status
from tests.acceptance.conftest import Embedsql
from tests.everyday import cases
from tests.factories import add_index, create_article_table, drain
from tests.servers import own_server

IMPATIENT = Limits(
    transaction_seconds=0,
    pending_seconds=0,
    slot_bytes=0,
    dead_tuples=10,
    sparse_bytes=8192,
    analyzed_rows=10,
)


@pytest.fixture
def index(connection: psycopg.Connection, database: str) -> RegisteredIndex:
    """An index on sixty articles, all embedded."""
    return filled_index(connection, database, lexical_index="hnsw")


def filled_index(
    connection: psycopg.Connection, database: str, rows: int = 60, **options: Any
) -> RegisteredIndex:
    create_article_table(connection)
    connection.execute(
        "INSERT INTO article (title, body) SELECT 'title ' || n, md5(n::text) || ' word' || n "
        "FROM generate_series(1, %s) AS n",
        [rows],
    )
    index = add_index(connection, **options)
    drain(database)
    analyze(connection)
    return index


def analyze(connection: psycopg.Connection) -> None:
    """Count what this session changed before the statistics are made, not after."""
    connection.execute("SELECT pg_stat_force_next_flush()")
    connection.execute("ANALYZE")


def run_mend(database: str, finding: Finding) -> None:
    """Run what a finding says, as a person would: statements in SQL, commands in a shell."""
    lines = finding.mend.splitlines()
    commands = [line for line in lines if line.startswith("embedsql ")]
    statements = sqlfile.split("\n".join(line for line in lines if line not in commands))
    with connect(database) as connection:
        for statement in statements:
            connection.execute(statement.encode())
    for command in commands:
        Embedsql(database).run(*shlex.split(command)[1:])


def find(findings: list[Finding], words: str) -> list[Finding]:
    return [finding for finding in findings if words in finding.finding]


def diagnosed(database: str, limits: Limits | None = None) -> list[Finding]:
    with connect(database) as connection:
        return diagnose(connection, limits=limits)


def test_nothing_is_found_where_nothing_is_wrong(database: str, index: RegisteredIndex) -> None:
    assert diagnosed(database) == []
    result = CliRunner().invoke(app, ["doctor", "--database-url", database])
    assert (result.exit_code, result.stdout) == (0, "nothing is wrong\n")


# what is done to the database, what is said of it, and how bad it is
BREAKAGES = {
    "DROP INDEX embedsql.article_search_chunk_1_ann": (
        "hnsw index on the vectors is not there",
        "note",
    ),
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = "
    "'embedsql.article_search_chunk_1_ann'::regclass": ("is INVALID", "warning"),
    "DROP INDEX embedsql.article_search_chunk_1_terms": (
        "hnsw index on the terms is not there",
        "note",
    ),
    "DROP INDEX embedsql.article_search_chunk_1_terms; CREATE INDEX article_search_chunk_1_terms "
    "ON embedsql.article_search_chunk_1 USING hnsw (terms sparsevec_ip_ops)": (
        "expression terms instead of indexed_termsterms::sparsevec536870912",
        "warning",
    ),
    "DROP INDEX embedsql.article_search_chunk_1_ann; CREATE INDEX article_search_chunk_1_ann ON "
    "embedsql.article_search_chunk_1 USING hnsw (embedding vector_l2_ops) WITH (m = 8)": (
        "operator class vector_l2_ops instead of vector_cosine_ops, m 8 instead of 16; searches "
        "cannot use it",
        "warning",
    ),
    "DROP INDEX embedsql.article_search_chunk_1_ann; CREATE INDEX article_search_chunk_1_ann ON "
    "embedsql.article_search_chunk_1 USING hnsw ((embedding::halfvec(64)) halfvec_cosine_ops)": (
        "expression embedding::halfvec64 instead of embedding",
        "warning",
    ),
    "DROP INDEX embedsql.article_search_chunk_1_ann; CREATE INDEX article_search_chunk_1_ann ON "
    "embedsql.article_search_chunk_1 USING ivfflat (embedding vector_cosine_ops)": (
        "method ivfflat instead of hnsw",
        "warning",
    ),
    "DROP TRIGGER embedsql_article_search_insert ON article": ("triggers of", "error"),
    "DROP FUNCTION embedsql.article_search_on_update() CASCADE": ("triggers of", "error"),
    "ALTER TABLE article DISABLE TRIGGER embedsql_article_search_delete": (
        "is disabled",
        "error",
    ),
    "ALTER TABLE article RENAME TO story": ('is "public"."story" now', "error"),
    "UPDATE embedsql.semantic_index SET space = NULL": ("space of the stored vectors", "warning"),
    "UPDATE embedsql.semantic_index SET problem = 'no such model'": ("no such model", "error"),
    "INSERT INTO article (title) VALUES ('new')": ("no worker was seen", "note"),
    "INSERT INTO article (title) VALUES ('new'); "
    "UPDATE embedsql.article_search_log SET at = at - interval '2 minutes'": (
        "no worker was seen",
        "warning",
    ),
    "ALTER TABLE embedsql.article_search_log SET (autovacuum_enabled = off)": (
        "autovacuum is switched off for",
        "warning",
    ),
    "INSERT INTO embedsql.failure (index_id, key, version, attempts, dead, error_class, error) "
    "SELECT index_id, '7', 1, 5, true, 'ValueError', 'x' FROM embedsql.semantic_index": (
        "1 rows failed for good (ValueError)",
        "warning",
    ),
}


@pytest.mark.parametrize("breakage", cases(BREAKAGES, *list(BREAKAGES)[::5]))
def test_what_is_broken_is_found_and_its_own_mend_mends_it(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, breakage: str
) -> None:
    words, severity = BREAKAGES[breakage]
    connection.execute(breakage.encode())

    (finding,) = find(diagnosed(database), words)

    assert (finding.severity, finding.index) == (severity, "article_search")
    run_mend(database, finding)
    assert diagnosed(database) == []


def test_a_document_names_index_severity_finding_and_mend(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    connection.execute("UPDATE embedsql.semantic_index SET space = NULL")
    (finding,) = diagnosed(database)
    result = CliRunner().invoke(app, ["doctor", "article_search", "--database-url", database])
    assert result.exit_code == 3
    assert result.stdout.splitlines() == [
        f"warning: article_search: {finding.finding}",
        "    embedsql worker --drain",
    ]
    unknown = CliRunner().invoke(app, ["doctor", "nothing", "--database-url", database])
    assert "there is no semantic index 'nothing'" in str(unknown.exception)


@pytest.mark.exhaustive
def test_an_ivfflat_index_with_lists_that_do_not_fit_is_built_anew(
    connection: psycopg.Connection, database: str
) -> None:
    create_article_table(connection)
    connection.execute(
        "INSERT INTO article (title) SELECT 'word' || n FROM generate_series(1, 9) n"
    )
    filled = "INSERT INTO article (title) SELECT 'term' || n FROM generate_series(1, 12000) n"
    add_index(connection, text=("title",), index="ivfflat", lexical=None)
    drain(database)
    connection.execute(filled)
    drain(database)
    analyze(connection)

    (finding,) = diagnosed(database)

    assert "1 lists for 12009 vectors, and about 12 would fit" in finding.finding
    run_mend(database, finding)
    assert diagnosed(database) == []


def test_lists_that_were_declared_unfit_are_forgotten(
    connection: psycopg.Connection, database: str
) -> None:
    from embedsql.vectors import Ivfflat

    filled_index(connection, database, 1200, index="ivfflat", ivfflat=Ivfflat(500))
    (finding,) = diagnosed(database)
    assert "500 lists for 1200 vectors, and about 1 would fit" in finding.finding
    run_mend(database, finding)
    assert diagnosed(database) == []


@pytest.mark.parametrize(
    "options",
    [
        {"quantization": "halfvec", "stored": "vector"},
        {"quantization": "bit", "index_dimensions": 32},
        {"quantization": "int8"},
        {"quantization": "halfvec", "index_dimensions": 32, "metric": "l2"},
        {"storage": "column", "chunking": None, "vector_column": "My vector"},
        {"storage": "column", "chunking": None, "quantization": "bit"},
        {"index": "ivfflat", "metric": "inner_product"},
        {"index": "none"},
    ],
    ids=str,
)
@pytest.mark.exhaustive
def test_an_index_as_declared_is_not_found_fault_with(
    connection: psycopg.Connection, database: str, options: dict[str, Any]
) -> None:
    filled_index(connection, database, 20, **options)
    assert diagnosed(database) == []


def test_statistics_that_grew_old_are_made_anew(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    connection.execute("ALTER TABLE article SET (autovacuum_enabled = off)")
    connection.execute("UPDATE article SET tenant_id = 2")
    connection.execute("SELECT pg_stat_force_next_flush()")

    words = 'statistics of "public"."article" are from'
    (finding,) = find(diagnosed(database, IMPATIENT), words)

    run_mend(database, finding)
    assert find(diagnosed(database, IMPATIENT), words) == []


def test_dead_rows_of_a_log_are_vacuumed_unless_an_old_transaction_holds_them(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    with connect(database) as old, old.transaction():
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM article")
        connection.execute("ALTER TABLE embedsql.article_search_log SET (autovacuum_enabled = off)")
        connection.execute("UPDATE article SET title = 'x' || id")
        connection.execute("DELETE FROM embedsql.article_search_log")
        connection.execute("SELECT pg_stat_force_next_flush()")

        (holder,) = find(diagnosed(database, IMPATIENT), "a transaction is open")
        (bloat,) = find(diagnosed(database, IMPATIENT), "dead rows")
        assert f"pid {old.info.backend_pid}, idle in transaction" in holder.finding
        assert "count(*)" not in holder.finding
        assert '"article_search_log" holds ' in bloat.finding
        run_mend(database, bloat)
        assert find(diagnosed(database, IMPATIENT), "dead rows") != []

        run_mend(database, holder)
        with pytest.raises(psycopg.OperationalError):
            old.execute("SELECT 1")
    run_mend(database, bloat)
    assert find(diagnosed(database, IMPATIENT), "dead rows") == []


def test_a_log_that_stays_big_for_few_rows_is_made_small(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    connection.execute("ALTER TABLE embedsql.article_search_log SET (autovacuum_enabled = off)")
    connection.execute(
        "INSERT INTO embedsql.article_search_log (key_1) SELECT generate_series(1, 9000)"
    )
    connection.execute("DELETE FROM embedsql.article_search_log WHERE seq < 9000")
    connection.execute("VACUUM (TRUNCATE off) embedsql.article_search_log")
    connection.execute("SELECT pg_stat_force_next_flush()")

    (finding,) = find(diagnosed(database, IMPATIENT), "each claim reads more")

    run_mend(database, finding)
    assert find(diagnosed(database, IMPATIENT), "each claim reads more") == []


def test_a_replication_slot_that_nobody_reads_is_dropped(
    connection: psycopg.Connection, database: str
) -> None:
    connection.execute("SELECT pg_create_physical_replication_slot('forgotten', true)")
    connection.execute("CREATE TABLE t AS SELECT generate_series(1, 1000)")
    (finding,) = find(diagnosed(database, IMPATIENT), "replication slot forgotten")
    assert finding.severity == "warning"
    assert find(diagnosed(database), "replication slot") == []  # a little is no harm
    run_mend(database, finding)
    assert find(diagnosed(database, IMPATIENT), "replication slot") == []


def test_an_old_pgvector_is_updated(connection: psycopg.Connection, database: str) -> None:
    connection.execute("UPDATE pg_extension SET extversion = '0.8.2' WHERE extname = 'vector'")
    (finding,) = diagnosed(database)
    assert (finding.severity, finding.index) == ("warning", None)
    assert "pgvector is 0.8.2, and it can corrupt HNSW indexes" in finding.finding
    run_mend(database, finding)
    assert diagnosed(database) == []
    connection.execute("UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")
    (finding,) = diagnosed(database)
    assert finding.severity == "error"


@pytest.fixture
def worker_role(connection: psycopg.Connection, database: str) -> Any:
    """Connection strings of a role that owns nothing, which is dropped afterwards."""
    name = "doctor's patient"
    role = sql.Identifier(name)
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
    yield make_conninfo(database, user=name)
    connection.execute(
        sql.SQL("DROP OWNED BY {}; DROP ROLE {}").format(role, role).as_string().encode()
    )


def test_a_search_path_without_pgvector_is_mended_for_the_role(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, worker_role: str
) -> None:
    Embedsql(database).run("grant", "worker", "doctor's patient")
    assert diagnosed(worker_role) == []
    connection.execute('CREATE SCHEMA "my types"; ALTER EXTENSION vector SET SCHEMA "my types"')
    connection.execute('GRANT USAGE ON SCHEMA "my types" TO PUBLIC')

    (finding,) = find(diagnosed(worker_role), "is not on the search_path")

    assert (finding.severity, finding.index) == ("error", None)
    run_mend(database, finding)
    assert diagnosed(worker_role) == []


def test_keys_whose_operators_are_hidden_are_found(
    connection: psycopg.Connection, database: str
) -> None:
    connection.execute("CREATE SCHEMA types; CREATE EXTENSION citext SCHEMA types")
    connection.execute("CREATE TABLE note (slug types.citext PRIMARY KEY, body text)")
    connection.execute("INSERT INTO note VALUES ('A', 'one')")
    add_index(connection, "note", text=("body",))
    drain(database)

    (finding,) = diagnosed(database)

    assert "keys 'slug' are types.citext" in finding.finding
    run_mend(database, finding)
    assert diagnosed(database) == []
    drain(database)
    assert diagnosed(database) == []
    role = connection.execute("SELECT quote_ident(current_user), quote_ident(current_database())")
    connection.execute(
        "ALTER ROLE {} IN DATABASE {} RESET ALL".format(*role.fetchone() or ()).encode()
    )


def test_what_a_role_lacks_to_work_is_granted(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, worker_role: str
) -> None:
    (blind,) = diagnosed(worker_role)
    assert blind.severity == "error"
    assert shlex.split(blind.mend) == ["embedsql", "grant", "worker", "doctor's patient"]
    run_mend(database, blind)
    assert diagnosed(worker_role) == []

    connection.execute('REVOKE INSERT ON embedsql.article_search_chunk_1 FROM "doctor\'s patient"')
    (finding,) = diagnosed(worker_role)
    assert finding.mend == (
        'GRANT INSERT ON "embedsql"."article_search_chunk_1" TO "doctor\'s patient";'
    )
    run_mend(database, finding)
    assert diagnosed(worker_role) == []

    connection.execute("ALTER TABLE article ENABLE ROW LEVEL SECURITY")
    hidden, unguarded = diagnosed(worker_role)
    assert "a worker must see every row" in hidden.finding
    assert "which hide no row" in unguarded.finding
    run_mend(database, hidden)
    assert diagnosed(worker_role) == []


@pytest.mark.exhaustive
def test_a_prepared_transaction_that_was_forgotten_is_rolled_back() -> None:
    with own_server(max_prepared_transactions="2") as server:
        database = conninfo(server.url)
        with connect(database) as connection:
            install(connection)
            connection.execute("BEGIN")
            connection.execute("CREATE TABLE t ()")
            connection.execute("PREPARE TRANSACTION 'it''s'")
        (finding,) = diagnosed(database, IMPATIENT)
        run_mend(database, finding)
        assert diagnosed(database, IMPATIENT) == []


@pytest.mark.exhaustive  # a server of its own, started several times
def test_memory_that_is_too_small_is_found_and_given() -> None:
    with own_server(
        shared_buffers="1MB",
        maintenance_work_mem="1MB",
        effective_cache_size="1MB",
        autovacuum="off",
    ) as server:
        database = conninfo(server.url)
        with connect(database) as connection:
            install(connection)
            filled_index(connection, database, 3000, model="hash:256", dimensions=256, lexical=None)
        found = diagnosed(database)
        words = ["autovacuum is off", "shared_buffers 1 MB", "maintenance_work_mem is 1 MB"]
        mends = [find(found, one)[0] for one in words]
        assert [one.severity for one in mends] == ["warning", "warning", "note"]
        assert not is_healthy(found)
        for finding in mends:
            run_mend(database, finding)
        server.stop()
        server.start()
        assert diagnosed(conninfo(server.url)) == []


def test_an_index_on_an_empty_table_waits_for_nobody(
    connection: psycopg.Connection, database: str
) -> None:
    create_article_table(connection)
    add_index(connection)
    # as a revision leaves it that makes table and index in one
    connection.execute("UPDATE embedsql.semantic_index SET backfill_since = now() - interval '1h'")

    assert find(diagnosed(database), "no worker") == []
    (status,) = index_status(connection)
    assert (status.pending, status.oldest_pending_seconds) == (0, None)
