"""``pg_dump`` and restore, which knows no search_path: same vectors, nothing queued, all awake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from embedsql.database import connect
from embedsql.declare import drop_index
from embedsql.registered import RegisteredSearch
from embedsql.registry import all_indexes, find_index
from embedsql.search import Mode
from embedsql.status import index_status
from tests.factories import add_index, drain, stored_chunks, verify_all
from tests.servers import dbname, run_program

# types, operators and names that a restore's empty search_path does not find unqualified
SOURCES = """
CREATE SCHEMA types;
CREATE EXTENSION citext SCHEMA types;
CREATE DOMAIN types.title AS types.citext CHECK (value <> 'forbidden');
CREATE DOMAIN types.code AS text;
CREATE SCHEMA "Odd; schema";
CREATE TABLE "Odd; schema"."Mixed ""Case"" table" (
    "Id" types.citext, code types.code, "select" types.title, body text, seen int DEFAULT 0,
    PRIMARY KEY ("Id", code)
);
CREATE TABLE "Odd; schema".event (region text, id int, body types.citext, PRIMARY KEY (region, id))
    PARTITION BY LIST (region);
CREATE TABLE "Odd; schema".event_north PARTITION OF "Odd; schema".event FOR VALUES IN ('n');
CREATE TABLE "Odd; schema".event_south PARTITION OF "Odd; schema".event FOR VALUES IN ('s');
CREATE TABLE note (id numeric PRIMARY KEY, body text);
INSERT INTO "Odd; schema"."Mixed ""Case"" table" ("Id", code, "select", body)
    SELECT 'K' || n, 'c', 'title ' || n, 'amber body' FROM generate_series(1, 30) AS n;
INSERT INTO "Odd; schema".event SELECT r, n, 'birch ' || r || n
    FROM generate_series(1, 20) AS n, unnest(ARRAY['n', 's']) AS r;
INSERT INTO note SELECT n, 'cedar ' || n FROM generate_series(1, 20) AS n;
"""
CHANGES = """
INSERT INTO "Odd; schema"."Mixed ""Case"" table" ("Id", code, "select") VALUES ('new', 'c', 'dune');
UPDATE "Odd; schema"."Mixed ""Case"" table" SET "select" = 'DUNE' WHERE "Id" = 'K1';
UPDATE "Odd; schema"."Mixed ""Case"" table" SET code = 'd' WHERE "Id" = 'K2';
DELETE FROM "Odd; schema"."Mixed ""Case"" table" WHERE "Id" = 'K3';
INSERT INTO "Odd; schema".event_north VALUES ('n', 99, 'dune');
UPDATE "Odd; schema".event SET region = 's', id = 100 WHERE region = 'n' AND id = 1;
DELETE FROM note WHERE id = 1;
"""


def restore_script(dumped: str, restored: str, folder: Path) -> None:
    script = folder / "dump.sql"
    run_program("pg_dump", f"--file={script}", dbname(dumped))
    assert "set_config('search_path', '', false)" in script.read_text()
    run_program(
        "psql", "--no-psqlrc", "--set=ON_ERROR_STOP=1", f"--file={script}", dbname(restored)
    )


def restore_archive(dumped: str, restored: str, folder: Path) -> None:
    archive = folder / "dump.custom"
    run_program("pg_dump", "--format=custom", f"--file={archive}", dbname(dumped))
    # else the triggers of a partitioned table may come before the rows of a partition
    for section in ("pre-data", "data", "post-data"):
        run_program(
            *("pg_restore", "--exit-on-error", "--jobs=2", f"--section={section}"),
            *(dbname(restored), archive),
        )


@pytest.fixture
def dumped(connection: psycopg.Connection, database: str) -> str:
    """Three indexes, filled, with their vector indexes, and one change still in the log."""
    connection.execute(SOURCES)
    add_index(
        connection, '"Odd; schema"."Mixed ""Case"" table"', text=("select", "body"), name="mixed"
    )
    add_index(
        connection,
        '"Odd; schema".event',
        text=("body",),
        quantization="halfvec",
        lexical_index="hnsw",
    )
    add_index(connection, "note", text=("body",), lexical=None)
    drain(database)
    connection.execute("UPDATE note SET body = 'cedar, late' WHERE id = 20")
    return database


def answers(database: str) -> list[list[object]]:
    """The keys that each mode of each index finds; all of them some."""
    modes: tuple[Mode, ...] = ("dense", "lexical", "hybrid")
    found = []
    for name in ("mixed", "event_search"):
        with RegisteredSearch(database, name) as search:
            for mode in modes:
                hits = search.search("amber birch title 7", mode=mode).hits
                assert len(hits) == 10
                found.append([key for key, _ in hits])
    return found


def why_waiting(connection: psycopg.Connection) -> list[object]:
    """What is logged, noted, being filled or to be tried again."""
    return [
        connection.execute(query).fetchall()
        for query in (
            "SELECT * FROM embedsql.event_search_log",
            "SELECT * FROM embedsql.bulk_insert",
            "SELECT name, state, backfill_since, backfill_after FROM embedsql.semantic_index",
            "SELECT * FROM embedsql.failure",
        )
    ]


@pytest.mark.parametrize("restore", [restore_script, restore_archive])
def test_a_restored_database_is_as_it_was_and_goes_on(
    connection: psycopg.Connection,
    dumped: str,
    empty_database: str,
    tmp_path: Path,
    restore: Callable[[str, str, Path], None],
) -> None:
    restore(dumped, empty_database, tmp_path)

    with connect(empty_database) as restored:
        for index in all_indexes(connection):
            assert find_index(restored, index.spec.name) == index
            assert stored_chunks(restored, index) == stored_chunks(connection, index)
        # loading the rows fired no trigger: what waits is what waited
        waiting = {found.index: found.pending for found in index_status(restored)}
        assert waiting == {"event_search": 0, "mixed": 0, "note_search": 1}, why_waiting(restored)
        assert drain(empty_database).embedded == 1
        assert verify_all(empty_database).ok

        restored.execute(CHANGES)
        changed = {found.index: found.pending for found in index_status(restored)}
        assert changed == {"event_search": 3, "mixed": 5, "note_search": 1}
    drain(empty_database)
    assert verify_all(empty_database).ok
    assert verify_all(dumped).pending == 1


@pytest.mark.exhaustive
def test_a_restored_database_answers_the_same(
    dumped: str, empty_database: str, tmp_path: Path
) -> None:
    restore_archive(dumped, empty_database, tmp_path)

    assert answers(empty_database) == answers(dumped)


def test_an_index_can_be_dropped_and_added_after_a_restore(
    dumped: str, empty_database: str, tmp_path: Path
) -> None:
    restore_script(dumped, empty_database, tmp_path)

    with connect(empty_database) as restored:
        for index in all_indexes(restored):
            drop_index(restored, index.spec.name)
        add_index(restored, "note", text=("body",))
    drain(empty_database)

    assert verify_all(empty_database).ok
