"""What each kind of change logs: the keys concerned, once for each changed row, and no more."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from embedsql.database import connect
from embedsql.registry import RegisteredIndex
from tests.factories import (
    add_index,
    create_article_table,
    drain,
    stored_chunks,
    take_log,
    verify_all,
)


@pytest.fixture
def index(connection: psycopg.Connection) -> RegisteredIndex:
    """An index on two articles, 1 and 2, with nothing logged."""
    create_article_table(connection)
    connection.execute("INSERT INTO article (id, title) VALUES (1, 'a'), (2, NULL)")
    index = add_index(connection)
    take_log(connection, index)
    return index


CHANGES: dict[str, list[int]] = {
    "INSERT INTO article (id, title) VALUES (3, 'c')": [3],
    "INSERT INTO article (id) SELECT generate_series(3, 6)": [3, 4, 5, 6],
    "INSERT INTO article (id) SELECT 3 WHERE false": [],
    """INSERT INTO article (id, title) VALUES (1, 'x'), (2, NULL), (3, 'c')
       ON CONFLICT (id) DO UPDATE SET title = EXCLUDED.title""": [1, 3],
    "INSERT INTO article (id) VALUES (1), (3) ON CONFLICT DO NOTHING": [3],
    """MERGE INTO article AS a USING (VALUES (1, 'x'), (2, NULL), (3, 'c')) AS n (id, title)
       ON a.id = n.id WHEN MATCHED AND n.title IS NULL THEN DELETE
       WHEN MATCHED THEN UPDATE SET title = n.title
       WHEN NOT MATCHED THEN INSERT (id, title) VALUES (n.id, n.title)""": [1, 2, 3],
    """WITH gone AS (DELETE FROM article WHERE id = 1),
       come AS (INSERT INTO article (id) VALUES (3))
       UPDATE article SET body = 'x' WHERE id = 2""": [1, 2, 3],
    "UPDATE article SET title = 'x'": [1, 2],
    "UPDATE article SET title = NULL": [1],
    "UPDATE article SET title = title, tenant_id = 5": [],
    "UPDATE article SET id = 9 WHERE id = 1": [1, 9],
    "UPDATE article SET id = 9, title = 'x' WHERE id = 1": [1, 9],
    "DELETE FROM article": [1, 2],
    "DELETE FROM article WHERE id = 7": [],
}


def test_a_change_logs_its_keys(connection: psycopg.Connection, index: RegisteredIndex) -> None:
    found = {}
    for change in CHANGES:
        with connection.transaction(force_rollback=True):
            connection.execute(change.encode())
            found[change] = sorted(take_log(connection, index))

    assert found == CHANGES


def test_a_copy_logs_every_row(connection: psycopg.Connection, index: RegisteredIndex) -> None:
    with connection.cursor().copy("COPY article (id, title) FROM STDIN") as copy:
        for key in range(3, 103):
            copy.write_row((key, f"title {key}"))

    assert sorted(take_log(connection, index)) == list(range(3, 103))


def test_a_text_changed_by_a_before_trigger_is_logged(
    connection: psycopg.Connection, index: RegisteredIndex
) -> None:
    connection.execute(
        "CREATE FUNCTION retitle() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.title := 'tenant ' || NEW.tenant_id; RETURN NEW; END $$;"
        "CREATE TRIGGER retitle BEFORE UPDATE ON article "
        "FOR EACH ROW EXECUTE FUNCTION retitle()"
    )

    connection.execute("UPDATE article SET tenant_id = 7 WHERE id = 1")

    assert take_log(connection, index) == [1]


@pytest.mark.parametrize("kind", ["STORED", "VIRTUAL"])
def test_a_generated_column_is_a_text_like_any_other(
    connection: psycopg.Connection, database: str, kind: str
) -> None:
    if kind == "VIRTUAL" and connection.info.server_version < 180000:
        pytest.skip("virtual columns came with PostgreSQL 18")
    connection.execute(
        "CREATE TABLE person (id int PRIMARY KEY, first text, last text, age int, "
        f"name text GENERATED ALWAYS AS (first || ' ' || last) {kind})"
    )
    index = add_index(connection, "person", text=("name",))
    connection.execute("INSERT INTO person (id, first, last) VALUES (1, 'Ada', 'Byron')")
    drain(database)

    connection.execute("UPDATE person SET age = 36")
    assert take_log(connection, index) == []
    connection.execute("UPDATE person SET last = 'Lovelace'")
    drain(database)

    assert stored_chunks(connection, index) == [(1, "Ada Lovelace")]


def test_two_swapped_keys_are_both_logged(connection: psycopg.Connection, database: str) -> None:
    connection.execute("CREATE TABLE note (id int PRIMARY KEY DEFERRABLE, body text)")
    connection.execute("INSERT INTO note VALUES (1, 'one'), (2, 'two')")
    index = add_index(connection, "note", text=("body",))
    drain(database)

    connection.execute("UPDATE note SET id = 3 - id")
    drain(database)

    assert stored_chunks(connection, index) == [(1, "two"), (2, "one")]


def test_cascades_from_a_parent_are_logged(connection: psycopg.Connection) -> None:
    connection.execute(
        "CREATE TABLE tenant (id int PRIMARY KEY); INSERT INTO tenant VALUES (1), (2);"
        "CREATE TABLE note (tenant_id int REFERENCES tenant ON DELETE CASCADE ON UPDATE CASCADE, "
        "id int, body text, PRIMARY KEY (tenant_id, id));"
        "INSERT INTO note VALUES (1, 1, 'x'), (1, 2, 'y'), (2, 1, 'z')"
    )
    index = add_index(connection, "note", text=("body",))
    take_log(connection, index)

    connection.execute("DELETE FROM tenant WHERE id = 1")
    assert sorted(take_log(connection, index)) == [(1, 1), (1, 2)]
    connection.execute("UPDATE tenant SET id = 3 WHERE id = 2")
    assert sorted(take_log(connection, index)) == [(2, 1), (3, 1)]


@pytest.mark.parametrize("truncate", ["TRUNCATE article", "TRUNCATE owner CASCADE"])
def test_truncate_empties_the_tables_beside(
    connection: psycopg.Connection, database: str, truncate: str
) -> None:
    connection.execute("CREATE TABLE owner (id int PRIMARY KEY)")
    create_article_table(connection)
    connection.execute("ALTER TABLE article ADD FOREIGN KEY (tenant_id) REFERENCES owner")
    connection.execute("INSERT INTO owner VALUES (1)")
    index = add_index(connection)
    connection.execute("INSERT INTO article (title) VALUES ('a'), ('b')")
    drain(database)
    connection.execute("UPDATE article SET title = 'c' WHERE id = 1")
    connection.execute(
        "INSERT INTO embedsql.failure (index_id, key, version, attempts, dead, error_class, error) "
        "VALUES (%s, '2', 1, 5, true, 'E', 'e')",
        [index.index_id],
    )

    connection.execute(truncate.encode())

    assert stored_chunks(connection, index) == []
    assert connection.execute("SELECT count(*) FROM embedsql.failure").fetchone() == (0,)
    assert connection.execute("SELECT * FROM embedsql.article_search_row_1").fetchall() == []
    assert take_log(connection, index) == []
    assert verify_all(database).ok


def test_a_rollback_leaves_no_trace(connection: psycopg.Connection, index: RegisteredIndex) -> None:
    with connection.transaction():
        connection.execute("INSERT INTO article (id) VALUES (3)")
        with connection.transaction(force_rollback=True):
            connection.execute("INSERT INTO article (id) VALUES (4)")
            connection.execute("UPDATE article SET title = 'x' WHERE id = 1")
    with connection.transaction(force_rollback=True):
        connection.execute("TRUNCATE article")

    assert take_log(connection, index) == [3]


@pytest.mark.parametrize(("notify", "expected"), [(True, ["article_search"] * 2), (False, [])])
def test_workers_are_notified_of_the_first_change_that_waits(
    connection: psycopg.Connection, database: str, notify: bool, expected: list[str]
) -> None:
    create_article_table(connection)
    index = add_index(connection, notify=notify)

    with connect(database) as listener:
        listener.execute("LISTEN embedsql")
        with connection.transaction():
            connection.execute("INSERT INTO article (title) SELECT 'a' FROM generate_series(1, 9)")
            connection.execute("UPDATE article SET title = 'b'")
        connection.execute("UPDATE article SET title = 'c'")  # no worker has taken the first yet
        take_log(connection, index)
        connection.execute("DELETE FROM article WHERE id < 4")
        connection.execute("DELETE FROM article WHERE id < 4")
        connection.execute("UPDATE article SET tenant_id = 2")
        with connection.transaction(force_rollback=True):
            connection.execute("DELETE FROM article")
        received = [notification.payload for notification in listener.notifies(timeout=0.1)]

    assert received == expected


def test_a_role_that_may_only_write_the_table_needs_nothing_else(
    connection: psycopg.Connection, index: RegisteredIndex, database: str
) -> None:
    role = sql.Identifier(f"writer of {connection.info.dbname}")
    connection.execute(sql.SQL("CREATE ROLE {}").format(role))
    try:
        connection.execute(
            sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON article TO {}").format(role)
        )
        with connection.transaction():
            connection.execute(sql.SQL("SET LOCAL ROLE {}").format(role))
            connection.execute("TRUNCATE article")
            connection.execute("INSERT INTO article (id, title) VALUES (3, 'c'), (4, 'd')")
            connection.execute("UPDATE article SET title = 'e' WHERE id = 3")
            connection.execute("DELETE FROM article WHERE id = 4")
    finally:
        connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(role))

    assert take_log(connection, index) == [3, 4, 3, 4]
