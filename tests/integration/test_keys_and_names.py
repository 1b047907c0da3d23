"""Every key type and every name that PostgreSQL takes goes the whole way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from embedsql.database import connect
from embedsql.declare import drop_index
from embedsql.errors import DeclarationError
from embedsql.registry import all_indexes
from tests.everyday import cases
from tests.factories import (
    HandWorker,
    RecordingEmbedder,
    add_index,
    drain,
    stored_chunks,
    verify_all,
)


@pytest.fixture(scope="module")
def shared(server: str, template: str) -> Iterator[str]:
    """One database for the many small cases here."""
    name = sql.Identifier("test_keys_and_names")
    with connect(server) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(name, sql.Identifier(template))
        )
        shared = make_conninfo(server, dbname="test_keys_and_names")
        with connect(shared) as made:
            made.execute(
                "CREATE SCHEMA types;"
                "CREATE TYPE types.pair AS (a int, b int);"
                "CREATE TYPE types.mood AS ENUM ('glad', 'so so');"
                "CREATE DOMAIN types.short_text AS varchar(8) CHECK (value <> '');"
                "CREATE EXTENSION IF NOT EXISTS citext SCHEMA types"
            )
        yield shared
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.fixture
def database(shared: str) -> Iterator[str]:
    """The shared database; what a case made is removed after it."""
    yield shared
    with connect(shared) as connection:
        for index in all_indexes(connection):
            drop_index(connection, index.spec.name)
        assert connection.execute(LEFTOVERS).fetchall() == []
        sources = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (name,) in sources.fetchall():
            connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))


KEYS = {
    "bigint": ("-9223372036854775808", "9223372036854775807"),
    "uuid": ("00000000-0000-0000-0000-000000000000", "9b2c1a52-2f0e-4d5e-9b0a-0d6d8d1a2b3c"),
    "text": ("", "a'b\"c\\d%s{}\n, null"),
    'text COLLATE "C"': ("b", "ä"),
    "varchar(8)": ("ab", "ab "),
    "char(2)": ("ab", "c"),
    "numeric(6,2)": ("1.10", "-0.05"),
    "timestamptz": ("2024-02-29 12:00:00.000001+02", "1999-12-31 00:00+00"),
    "bytea": ("\\x00ff", "\\x"),
    "inet": ("10.0.0.1", "::1"),
    "types.mood": ("glad", "so so"),
    "types.short_text": ("a", "b"),
    "types.citext": ("Ab", "c"),
}


@pytest.mark.parametrize(
    "key_type", cases(KEYS, "uuid", "text", "numeric(6,2)", "timestamptz", "types.citext")
)
def test_a_key_type_goes_the_whole_way(
    connection: psycopg.Connection, database: str, key_type: str
) -> None:
    first, second = KEYS[key_type]
    connection.execute(f"CREATE TABLE note (id {key_type} PRIMARY KEY, body text)".encode())
    connection.execute("INSERT INTO note VALUES (%s, 'poison')", [first])
    index = add_index(connection, "note", text=("body",), index="none")
    embedder = RecordingEmbedder(poison="poison")
    with closing(HandWorker(database, index, embedder=embedder)) as worker:
        connection.execute("INSERT INTO note VALUES (%s, 'old')", [second])
        worker.work()
        connection.execute("UPDATE note SET body = 'new' WHERE body = 'old'")
        worker.work()
        connection.execute("UPDATE embedsql.failure SET next_attempt_at = now()")
        embedder.poison = None
        worker.work()

        both = "SELECT id, chunk FROM note_search ORDER BY chunk"
        assert connection.execute(both).fetchall() == (
            connection.execute("SELECT id, body FROM note ORDER BY body").fetchall()
        )
        assert verify_all(database).ok
        connection.execute("DELETE FROM note")
        worker.work()
        assert stored_chunks(connection, index) == []


@pytest.mark.parametrize("key", ["int[]", "types.pair"])
def test_a_key_in_pieces_is_refused(
    connection: psycopg.Connection, database: str, key: str
) -> None:
    connection.execute(f"CREATE TABLE note (id {key} PRIMARY KEY, body text)".encode())
    with pytest.raises(DeclarationError, match=r"'id' of 'note' is of type .* another primary key"):
        add_index(connection, "note", text=("body",))


def test_a_key_that_equals_others_is_refused(connection: psycopg.Connection, database: str) -> None:
    connection.execute(
        'CREATE COLLATION IF NOT EXISTS types.vague FROM "C";'
        "UPDATE pg_collation SET collisdeterministic = false WHERE collname = 'vague';"
        "CREATE TABLE note (id text COLLATE types.vague PRIMARY KEY, body text)"
    )
    with pytest.raises(DeclarationError, match="nondeterministic collation"):
        add_index(connection, "note", text=("body",))


def test_a_composite_key_goes_the_whole_way(connection: psycopg.Connection, database: str) -> None:
    connection.execute(
        'CREATE TABLE note (part int, "Id" uuid, body text, code text, '
        'PRIMARY KEY (code, "Id", part))'
    )
    connection.execute(
        "INSERT INTO note SELECT 1, gen_random_uuid(), n || ' ' || c, c "
        "FROM generate_series(1, 20) AS n, unnest(ARRAY['x', 'y']) AS c"
    )
    index = add_index(connection, "note", text=("body",))
    drain(database)
    connection.execute("UPDATE note SET part = 2, body = 'moved' WHERE code = 'x'")
    connection.execute("DELETE FROM note WHERE body LIKE '1_ y'")
    drain(database)

    view = connection.execute('SELECT code, "Id", part, chunk FROM note_search').fetchall()
    assert sorted(view) == sorted(stored_chunks(connection, index))
    assert sorted(view) == sorted(connection.execute('SELECT code, "Id", part, body FROM note'))
    assert verify_all(database).ok


def test_columns_that_a_key_only_includes_are_no_part_of_it(
    connection: psycopg.Connection, database: str
) -> None:
    connection.execute("CREATE TABLE note (id int, body text, PRIMARY KEY (id) INCLUDE (body))")
    index = add_index(connection, "note", text=("body",))

    connection.execute("INSERT INTO note VALUES (1, 'text'), (2, NULL)")
    drain(database)

    assert stored_chunks(connection, index) == [(1, "text")]


HOSTILE = [
    "Mixed Case",
    "select",
    '";--',
    'a"b',
    "it's",
    "%s",
    "100%",
    "%%b",
    "%(key_1)s",
    "{}",
    "{log}",
    "$embedsql$",
    "back\\slash",
    "semi;\n\ncolon",
    "snö☃",
    "n" * 63,
    "ö" * 31 + "x",
]


@pytest.mark.exhaustive
def test_hostile_names_go_the_whole_way(connection: psycopg.Connection, database: str) -> None:
    def execute(name: str, *statements: str) -> None:
        # the table, its key, its text and its index all bear the name, but for the last character
        slots = {"table": name, "key": name, "text": name[:-1] + "z"}
        quoted = {slot: sql.Identifier(value) for slot, value in slots.items()}
        for statement in statements:
            connection.execute(sql.SQL(statement).format(**quoted))

    indexes = {}
    for name in HOSTILE:
        execute(
            name,
            "CREATE TABLE {table} ({key} int, part int, {text} text, PRIMARY KEY ({key}, part))",
            "INSERT INTO {table} VALUES (1, 1, 'old'), (2, 1, 'b'), (3, 1, '')",
        )
        quoted = sql.Identifier(name).as_string(None)
        indexes[name] = add_index(connection, quoted, text=(name[:-1] + "z",), name=name[:-1] + "y")
    drain(database)
    for name in HOSTILE:
        execute(
            name,
            "UPDATE {table} SET {text} = 'new' WHERE {key} = 1",
            "UPDATE {table} SET {key} = 4, {text} = 'd' WHERE {key} = 3",
            "DELETE FROM {table} WHERE {key} = 2",
        )
    drain(database)

    found = {name: stored_chunks(connection, index) for name, index in indexes.items()}
    assert found == {name: [(1, 1, "new"), (4, 1, "d")] for name in HOSTILE}
    assert verify_all(database).ok


@pytest.mark.parametrize("column", cases(["found", "input", "place", "version", "key_1"], "key_1"))
def test_a_key_may_be_called_as_our_own_words(
    connection: psycopg.Connection, database: str, column: str
) -> None:
    connection.execute(f'CREATE TABLE note ("{column}" int PRIMARY KEY, seq text)'.encode())
    index = add_index(connection, "note", text=("seq",))

    connection.execute("INSERT INTO note VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    connection.execute(f"UPDATE note SET \"{column}\" = 4, seq = 'd' WHERE seq = 'a'".encode())
    connection.execute("DELETE FROM note WHERE seq = 'b'")
    drain(database)

    assert stored_chunks(connection, index) == [(3, "c"), (4, "d")]
    assert verify_all(database).ok


def test_other_columns_may_be_called_as_our_own(
    connection: psycopg.Connection, database: str
) -> None:
    ours = "key_1, version, input_hash, chunks, truncated, kept, place, chunk_seq, embedding, seq"
    columns = ours.replace(",", " int,")
    connection.execute(f"CREATE TABLE note (id int PRIMARY KEY, body text, {columns} int)".encode())
    index = add_index(connection, "note", text=("body",))
    connection.execute("INSERT INTO note (id, body, key_1) VALUES (1, 'a', 2), (2, 'b', 1)")
    drain(database)

    connection.execute("UPDATE note SET body = 'c' WHERE key_1 = 2")
    drain(database)

    assert stored_chunks(connection, index) == [(1, "c"), (2, "b")]
    assert verify_all(database).ok


@pytest.mark.parametrize(
    ("key_type", "first", "second"),
    [("citext", "Ab", "AB"), ("numeric", "1.0", "1.00"), ("char(3)", "a", "a  ")],
)
def test_a_key_that_changes_to_an_equal_one_keeps_its_vectors(
    database: str, key_type: str, first: str, second: str
) -> None:
    # an operator outside pg_catalog is found by the search_path, as in the application's own SQL
    database = make_conninfo(database, options="-c search_path=public,types")
    with connect(database) as connection:
        connection.execute(f"CREATE TABLE note (id {key_type} PRIMARY KEY, body text)".encode())
        connection.execute("INSERT INTO note VALUES (%s, 'text')", [first])
        add_index(connection, "note", text=("body",))
        drain(database)

        connection.execute("UPDATE note SET id = %s", [second])
        drain(database)
        assert connection.execute("SELECT chunk FROM note_search").fetchall() == [("text",)]
        assert verify_all(database).ok
        connection.execute("UPDATE note SET body = 'more'")
        drain(database)

        assert connection.execute("SELECT chunk FROM note_search").fetchall() == [("more",)]
        assert verify_all(database).ok
        connection.execute("DELETE FROM note WHERE id = %s", [first])
        drain(database)
        assert verify_all(database).ok


@pytest.mark.exhaustive
def test_indexes_whose_names_differ_after_the_59th_byte_share_nothing(
    connection: psycopg.Connection, database: str
) -> None:
    # every one of them is cut to make room for a suffix, so that only digests tell them apart
    connection.execute("CREATE TABLE note (id int PRIMARY KEY, body text, other text)")
    names = ["n" * 59 + tail for tail in ("", "a", "ab", "abc", "abcd", "b", "é")]
    indexes = {
        name: add_index(connection, "note", text=(("body", "other")[place % 2],), name=name)
        for place, name in enumerate(names)
    }
    connection.execute("INSERT INTO note VALUES (1, 'one', 'two'), (2, 'three', 'four')")
    drain(database)
    connection.execute("UPDATE note SET other = 'changed' WHERE id = 1")
    connection.execute("DELETE FROM note WHERE id = 2")
    drain(database)

    found = [stored_chunks(connection, indexes[name]) for name in names]
    assert found == [[(1, "one" if place % 2 == 0 else "changed")] for place in range(len(names))]
    drop_index(connection, names[1])
    assert [index.spec.name for index in all_indexes(connection)] == sorted({*names} - {names[1]})
    connection.execute("UPDATE note SET body = 'still', other = 'watched'")
    drain(database)
    assert verify_all(database).ok


# what an index made and its removal left
LEFTOVERS = """
SELECT relname FROM pg_class WHERE relnamespace = 'embedsql'::regnamespace
AND relkind IN ('r', 'v', 'S')
AND relname NOT LIKE ALL
    ('{installation,semantic_index%,bulk_insert,worker,failure,dead_letter,status,query_%,model_change}')
UNION ALL SELECT tgname FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'embedsql'::regnamespace
AND prorettype = 'trigger'::regtype
"""
