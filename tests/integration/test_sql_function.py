"""The function of an index: what it finds, in which order, for whom, and what it refuses."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.conninfo import make_conninfo
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from embedsql import SemanticIndex
from embedsql.alembic import register_operations
from embedsql.database import connect
from embedsql.declare import drop_index
from embedsql.embedders.hashing import HashEmbedder
from embedsql.grants import grant_statements
from embedsql.installation import uninstall
from embedsql.registered import RegisteredSearch
from embedsql.registry import find_index
from embedsql.search.query import vector_text
from embedsql.search.words import meant_text
from embedsql.sqlsearch import drop_function_statements, function_statements
from tests.everyday import cases
from tests.factories import add_index, create_article_table, drain

EMBEDDER = HashEmbedder("hash:64")
WORDS = "amber birch cedar delta ember fjord grove heath inlet jetty".split()
QUERIES = [
    "amber birch",
    "delta",
    "the grove of amber and heath",
    "fjord inlet jetty 77",
    'grove +amber -"heath"',
    "zebra",
]


def vector(text: str) -> str:
    return vector_text(EMBEDDER.embed_queries([meant_text(text)])[0])


def rows_of(connection: psycopg.Connection, call: str, *values: Any) -> list[Any]:
    return connection.execute(f"SELECT * FROM {call}".encode(), values).fetchall()


def fill(connection: psycopg.Connection, count: int = 180) -> None:
    """Articles of some words each; few enough that no approximation decides what is found."""
    chance = random.Random(7)
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO article (tenant_id, title, body) VALUES (%s, %s, %s)",
            [
                (
                    n % 2 + 1,
                    f"{chance.choice(WORDS)} {n}",
                    " ".join(chance.choices(WORDS, k=chance.randint(1, 12))),
                )
                for n in range(count)
            ],
        )


@pytest.fixture
def filled(connection: psycopg.Connection, database: str) -> psycopg.Connection:
    create_article_table(connection)
    add_index(connection)
    fill(connection)
    drain(database)
    return connection


@pytest.fixture
def notices(connection: psycopg.Connection) -> list[str]:
    said: list[str] = []
    connection.add_notice_handler(lambda diag: said.append(diag.message_primary or ""))
    return said


@pytest.mark.parametrize(
    "asked",
    cases(
        [
            ({}, 1),
            ({}, 10),
            ({}, 150),
            ({}, 1000),
            ({"quantization": "halfvec"}, 10),
            ({"quantization": "bit"}, 10),
            ({"quantization": "int8"}, 10),
            ({"index_dimensions": 32}, 10),
            ({"index": "ivfflat", "metric": "inner_product"}, 10),
            ({"storage": "column", "chunking": None}, 10),
        ],
        ({}, 10),
        ({"quantization": "int8"}, 10),
        ({"index": "ivfflat", "metric": "inner_product"}, 10),
    ),
)
def test_sql_and_python_give_the_same_rows_in_the_same_order(
    connection: psycopg.Connection, database: str, asked: tuple[dict[str, Any], int]
) -> None:
    options, k = asked
    create_article_table(connection)
    add_index(connection, **options)
    fill(connection)
    drain(database)
    with RegisteredSearch(database, "article_search") as search:
        for mode in ("hybrid", "dense", "lexical"):
            for query in QUERIES:
                hits = search.search(query, mode=mode, limit=k)
                found = rows_of(
                    connection,
                    "article_search(%s, %s, %s, %s)",
                    query,
                    k,
                    mode,
                    None if mode == "lexical" else vector(query),
                )
                expected = [
                    (
                        key,
                        hit.score,
                        hit.dense_rank,
                        hit.similarity,
                        hit.lexical_rank,
                        pytest.approx(hit.bm25),
                        pytest.approx(hit.support),
                        hit.chunk_seq,
                        hit.snippet,
                        hit.strategy or "lexical",
                        hit.pending,
                        hits.complete,
                    )
                    for key, hit in hits.hits
                ]
                assert found == expected, (mode, query)
                assert found or query == "zebra"


def test_order_stays_the_same_in_generic_plans(filled: psycopg.Connection) -> None:
    def answers() -> list[Any]:
        return [
            rows_of(filled, "article_search(%s, 20, %s, %s)", query, mode, vector(query))
            for query in QUERIES
            for mode in ("hybrid", "dense")
        ]

    first = answers()
    for mode in ("force_generic_plan", "force_custom_plan", "auto"):
        filled.execute(f"SET plan_cache_mode = {mode}".encode())
        assert [answers() for _ in range(4)] == [first] * 4


def test_function_has_the_keys_of_its_source_under_their_names_and_types(
    connection: psycopg.Connection, database: str
) -> None:
    connection.execute(
        'CREATE TABLE page (k uuid, score text, "a b" date, body text, '
        'PRIMARY KEY (k, score, "a b"))'
    )
    key = (uuid4(), "x", "2024-01-02")
    connection.execute("INSERT INTO page VALUES (%s, %s, %s, 'amber')", key)
    add_index(connection, "page", ("body",))
    drain(database)
    cursor = connection.execute(
        "SELECT * FROM page_search('amber', k_ => 5, mode => 'lexical') WHERE score_ > 0"
    )
    assert cursor.description is not None
    assert [column.name for column in cursor.description][:4] == ["k", "score", "a b", "score_"]
    assert [str(value) for value in (cursor.fetchone() or ())[:3]] == [str(part) for part in key]


@pytest.mark.parametrize(
    "name",
    [
        '";-- %s {x}',
        "$embedsql$; DROP TABLE page",
        "Größe'",
        "select",
        "a:b \\ c",
        "%(x)s",
        "x" * 63,
    ],
)
@pytest.mark.exhaustive
def test_hostile_names_are_only_names(
    connection: psycopg.Connection, database: str, name: str
) -> None:
    quoted = sql.Identifier(name)
    connection.execute("CREATE SCHEMA app")
    connection.execute(
        sql.SQL("CREATE TABLE app.{0} ({0} bigint PRIMARY KEY, body text)").format(quoted)
    )
    connection.execute(sql.SQL("INSERT INTO app.{} VALUES (7, 'amber')").format(quoted))
    table = sql.SQL("app.{}").format(quoted).as_string(None)
    add_index(connection, table, ("body",), name=f"{name[:55]}_search")
    drain(database)
    function = sql.Identifier("app", f"{name[:55]}_search")
    asked = sql.SQL("SELECT {} FROM {}('amber', vector => {})").format(
        quoted, function, vector("amber")
    )

    assert connection.execute(asked).fetchall() == [(7,)]
    drop_index(connection, f"{name[:55]}_search")
    assert connection.execute(
        "SELECT count(*) FROM pg_proc WHERE pronamespace = 'app'::regnamespace"
    ).fetchone() == (0,)


def test_arguments_that_cannot_be_are_refused_with_a_way_out(filled: psycopg.Connection) -> None:
    for call, sqlstate, words in [
        ("'amber', 0", "ES003", "k must be 1 to 1000 rows, not 0"),
        ("'amber', 1001", "ES003", "k must be 1 to 1000"),
        ("'amber', NULL", "ES003", "not null"),
        ("'amber', mode => 'sparse'", "ES003", "no such mode: 'sparse'"),
        ("'amber', mode => NULL", "ES003", "no such mode: null"),
        ("'amber', wait_ms => -1", "ES003", "wait_ms must be 0 to 60000"),
        ("'amber', vector => '[1,2]'", "ES005", "2 dimensions, the index 64"),
        ("'amber', mode => 'dense', wait_ms => 0", "ES006", "needs the query's vector"),
        ("repeat('amber ', 1000000)", "ES004", "characters"),
    ]:
        with pytest.raises(psycopg.Error, match=words) as refused:
            rows_of(filled, f"article_search({call})")
        assert refused.value.sqlstate == sqlstate
        assert refused.value.diag.message_hint


@pytest.mark.parametrize(
    ("k", "hint"), [(0, "Leave k out"), (None, "Leave k out"), (1001, "Ask for fewer rows")]
)
def test_the_hint_for_a_wrong_k_fits_it(
    filled: psycopg.Connection, k: int | None, hint: str
) -> None:
    with pytest.raises(psycopg.Error, match="k must be 1 to 1000 rows") as refused:
        rows_of(filled, "article_search('amber', %s)", k)
    assert (refused.value.diag.message_hint or "").startswith(hint)


def test_index_without_a_lexical_lane_is_searched_by_meaning(
    connection: psycopg.Connection, database: str
) -> None:
    create_article_table(connection)
    add_index(connection, lexical=None)
    connection.execute("INSERT INTO article (body) VALUES ('amber')")
    drain(database)

    found = rows_of(connection, "article_search('amber', vector => %s)", vector("amber"))

    assert [row[0] for row in found] == [1]
    with pytest.raises(psycopg.Error, match="without a lexical lane") as refused:
        rows_of(connection, "article_search('amber', mode => 'lexical')")
    assert refused.value.sqlstate == "ES003"


def test_text_that_asks_for_nothing_finds_nothing(filled: psycopg.Connection) -> None:
    for query in (None, "", " \t\n", "the of and", "'", "\\", "%s", "a" * 10_000):
        for mode in ("hybrid", "lexical"):
            found = rows_of(filled, "article_search(%s, 10, %s, wait_ms => 0)", query, mode)
            assert found == [], (query, mode)


def test_text_may_be_anything(filled: psycopg.Connection) -> None:
    @settings(
        max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=300)
        | st.lists(
            st.sampled_from(
                [*WORDS, '"', "-", "+", "'", "\\", "&", "|", "!", ":*", "<->", "\u202e"]
            ),
            max_size=20,
        ).map(" ".join)
    )
    def ask(query: str) -> None:
        for given_vector in (None, vector("amber")):
            found = rows_of(
                filled, "article_search(%s, 5, vector => %s, wait_ms => 0)", query, given_vector
            )
            # required and excluded words may leave nothing
            assert len(found) == 5 or given_vector is None or set(query) & set('+-"')

    ask()


@pytest.fixture
def tenants(connection: psycopg.Connection, database: str) -> Iterator[Callable[[int], str]]:
    """Two roles, each with a policy of its own tenant; their connection strings."""
    create_article_table(connection)
    index = add_index(connection)
    fill(connection, 400)
    drain(database)
    connection.execute("ALTER TABLE article ENABLE ROW LEVEL SECURITY")
    connection.execute("GRANT SELECT (tenant_id) ON article TO PUBLIC")
    names = {}
    for tenant in (1, 2):
        names[tenant] = f"tenant_{tenant}_{uuid4().hex[:8]}"
        role = sql.Identifier(names[tenant])
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
        connection.execute(
            sql.SQL("CREATE POLICY {0} ON article TO {0} USING (tenant_id = {1})").format(
                role, tenant
            )
        )
        for statement in grant_statements(index.spec, names[tenant], "search", index.names):
            connection.execute(statement.encode())
    yield lambda tenant: make_conninfo(database, user=names[tenant])
    connection.execute("DROP TABLE article CASCADE")
    for name in names.values():
        connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_each_tenant_finds_its_own_rows_and_as_many_as_asked_for(
    tenants: Callable[[int], str], connection: psycopg.Connection, mode: str
) -> None:
    query = "amber birch cedar delta ember fjord grove heath inlet jetty"
    for tenant in (1, 2):
        with connect(tenants(tenant)) as session:
            found = rows_of(session, "article_search(%s, 150, %s, %s)", query, mode, vector(query))
            joined = session.execute(
                "SELECT DISTINCT tenant_id FROM article_search(%s, 50, %s, %s) "
                "JOIN article USING (id)",
                [query, mode, vector(query)],
            ).fetchall()
        assert len(found) == 150
        assert joined == [(tenant,)]


def test_filter_on_the_joined_source_keeps_the_order(filled: psycopg.Connection) -> None:
    everything = rows_of(filled, "article_search('amber heath', 100, 'lexical')")
    odd = filled.execute(
        "SELECT s.id FROM article_search('amber heath', 100, 'lexical') AS s "
        "JOIN article AS a USING (id) WHERE a.tenant_id = 2 ORDER BY s.score DESC, s.id"
    ).fetchall()

    tenants: dict[int, int] = dict(filled.execute("SELECT id, tenant_id FROM article").fetchall())
    assert [key for (key,) in odd] == [row[0] for row in everything if tenants[row[0]] == 2]
    assert odd


def test_callers_search_path_does_not_matter(
    filled: psycopg.Connection, notices: list[str]
) -> None:
    expected = rows_of(filled, "article_search('amber', 5, vector => %s)", vector("amber"))
    filled.execute("CREATE SCHEMA hostile")
    filled.execute(
        "CREATE FUNCTION hostile.left(text, int) RETURNS text LANGUAGE sql AS $$ SELECT 'x' $$"
    )
    for path in ("''", "hostile, public", "hostile, pg_catalog"):
        filled.execute(f"SET search_path = {path}".encode())
        found = rows_of(filled, "public.article_search('amber', 5, vector => %s)", vector("amber"))
        assert found == expected
    assert notices == []


def test_pgvector_is_found_in_whatever_schema_it_is(
    new_database: Callable[..., str], template: str
) -> None:
    database = new_database()
    with connect(database) as connection:
        connection.execute("CREATE SCHEMA extensions")
        connection.execute("CREATE EXTENSION vector SCHEMA extensions")
        connection.execute("SET search_path = public, extensions")
        from embedsql.installation import install

        install(connection)
        create_article_table(connection)
        add_index(connection)
        connection.execute("INSERT INTO article (body) VALUES ('amber')")
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET search_path = public, extensions").format(
                sql.Identifier(connection.info.dbname)
            )
        )
        drain(database)
        connection.execute("SET search_path = ''")
        found = rows_of(connection, "public.article_search('amber', vector => %s)", vector("amber"))
        assert [row[0] for row in found] == [1]


def test_settings_of_the_search_end_with_its_transaction(filled: psycopg.Connection) -> None:
    before = filled.execute("SHOW hnsw.ef_search").fetchone()
    with filled.transaction():
        rows_of(filled, "article_search('amber', 100, vector => %s)", vector("amber"))
    assert filled.execute("SHOW hnsw.ef_search").fetchone() == before


def test_vector_of_another_column_can_be_given(filled: psycopg.Connection) -> None:
    """More like this row."""
    found = filled.execute(
        "SELECT s.id FROM article_search AS a, LATERAL "
        "article_search(NULL, 3, 'dense', a.embedding) AS s WHERE a.id = 17 LIMIT 1"
    ).fetchone()
    similarity = filled.execute(
        "SELECT s.similarity FROM article_search AS a, LATERAL "
        "article_search('', 3, vector => a.embedding) AS s WHERE a.id = 17 LIMIT 1"
    ).fetchone()
    assert found is not None
    assert similarity == (pytest.approx(1),)


def test_function_goes_with_its_index_and_with_the_kit(filled: psycopg.Connection) -> None:
    def there() -> bool:
        row = filled.execute(
            "SELECT count(*) FROM pg_proc WHERE proname = 'article_search'"
        ).fetchone()
        return row != (0,)

    spec = find_index(filled, "article_search").spec
    assert there()
    uninstall(filled)
    assert not there()
    assert spec.name == "article_search"


def test_drop_leaves_a_function_of_somebody_elses(filled: psycopg.Connection) -> None:
    filled.execute("CREATE FUNCTION article_search(int) RETURNS int LANGUAGE sql AS 'SELECT 1'")
    drop_index(filled, "article_search")
    assert filled.execute("SELECT article_search(5)").fetchall() == [(1,)]
    with pytest.raises(psycopg.errors.UndefinedFunction):
        rows_of(filled, "article_search('amber', 10)")


def test_function_can_be_made_anew_and_keeps_its_grants(filled: psycopg.Connection) -> None:
    spec = find_index(filled, "article_search").spec
    expected = rows_of(filled, "article_search('amber', mode => 'lexical')")
    filled.execute("GRANT EXECUTE ON FUNCTION article_search TO pg_monitor")
    acl = filled.execute("SELECT proacl FROM pg_proc WHERE proname = 'article_search'").fetchone()
    for statement in function_statements(spec):
        filled.execute(statement.encode())
    assert rows_of(filled, "article_search('amber', mode => 'lexical')") == expected
    again = filled.execute("SELECT proacl FROM pg_proc WHERE proname = 'article_search'").fetchone()
    assert again == acl
    for statement in drop_function_statements(spec) + function_statements(spec):
        filled.execute(statement.encode())
    assert rows_of(filled, "article_search('amber', mode => 'lexical')") == expected


def test_mapped_class_and_function_agree(
    filled: psycopg.Connection, sqlalchemy_engine: Engine
) -> None:
    from sqlalchemy import BigInteger, Column, MetaData, Table

    table = Table("article", MetaData(), Column("id", BigInteger, primary_key=True))
    index = SemanticIndex("article_search", table, text=("title", "body"), model="hash:64")
    with Session(sqlalchemy_engine) as session:
        for query in QUERIES:
            ids = [row.id for row in session.execute(index.search(query))]
            found = rows_of(filled, "article_search(%s, vector => %s)", query, vector(query))
            assert [row[0] for row in found] == ids


def test_alembic_makes_and_drops_the_function(
    connection: psycopg.Connection, sqlalchemy_engine: Engine
) -> None:
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    register_operations()
    create_article_table(connection)
    declared = {
        "key": {"id": "bigint"},
        "text": ["title", "body"],
        "dimensions": 64,
        "model": "hash:64",
    }
    with sqlalchemy_engine.begin() as bound:
        op: Any = Operations(MigrationContext.configure(bound))
        op.create_semantic_index("article_search", "article", **declared)
    assert rows_of(connection, "article_search('amber', wait_ms => 0)") == []
    with sqlalchemy_engine.begin() as bound:
        op = Operations(MigrationContext.configure(bound))
        op.drop_semantic_index("article_search", "article", **declared)
    with pytest.raises(psycopg.errors.UndefinedFunction):
        rows_of(connection, "article_search('amber')")
