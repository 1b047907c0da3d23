"""What becomes of a dead worker's batch: split until the row that did it is alone, then buried."""

from __future__ import annotations

from collections import Counter

import psycopg
import pytest

from embedsql.changelog import MOST_CRASHES, ChangeLog
from embedsql.registry import RegisteredIndex
from embedsql.requeue import requeue_rows
from embedsql.verify import verify_index
from tests.factories import HandWorker, add_index, create_article_table, drain, verify_all

PAST = -1.0  # a lease that has run out as soon as it is given


@pytest.fixture
def index(connection: psycopg.Connection) -> RegisteredIndex:
    create_article_table(connection)
    return add_index(connection, text=("title",))


def add(connection: psycopg.Connection, count: int) -> None:
    connection.execute(
        "INSERT INTO article (title) SELECT n FROM generate_series(1, %s) n", [count]
    )


def test_a_batch_that_nobody_survives_is_split_down_to_single_keys_and_buried(
    connection: psycopg.Connection, index: RegisteredIndex, database: str
) -> None:
    add(connection, 9)
    connection.execute("UPDATE article SET title = 'x' WHERE id % 2 = 0")
    owner: dict[int, int] = dict(
        connection.execute("SELECT seq, key_1 FROM embedsql.article_search_log").fetchall()
    )
    log = ChangeLog(index, "a", lease=PAST)

    claims = list(iter(lambda: log.claim(connection, 100), None))

    assert Counter(len(batch) for batch in claims) == {9: 1, 3: 3, 1: 9}
    for batch in claims:  # each piece has its own keys' sequences, all of them, and no others
        expected = {seq for seq, key in owner.items() if str(key) in batch.key_columns[0]}
        assert set(batch.seqs) == expected
        assert max(batch.versions) == max(expected)
    dead = connection.execute("SELECT key, error_class, attempts FROM embedsql.dead_letter")
    assert sorted(dead) == [(key, "WorkerCrash", MOST_CRASHES) for key in range(1, 10)]
    assert log.is_empty(connection)
    assert verify_all(database).dead == 9


@pytest.mark.parametrize("storage", ["table", "column"])
def test_nothing_of_an_earlier_text_is_left_of_a_key_that_is_buried(
    connection: psycopg.Connection, database: str, storage: str
) -> None:
    create_article_table(connection)
    index = add_index(connection, text=("title",), storage=storage, chunking=None)
    add(connection, 3)
    drain(database)
    connection.execute("UPDATE article SET title = 'fatal' WHERE id = 2")
    requeue_rows(connection, index, "id = 3")
    log = ChangeLog(index, "a", lease=PAST)

    while log.claim(connection, 100):
        pass

    dead = connection.execute("SELECT key FROM embedsql.dead_letter ORDER BY key").fetchall()
    assert dead == [(2,), (3,)]
    found = connection.execute("SELECT id FROM article_search WHERE embedding IS NOT NULL")
    assert sorted(found) == [(1,), (3,)]
    assert connection.execute("SELECT FROM article_search WHERE chunk = '2'").rowcount == 0
    verdict = verify_all(database)
    # what the third says did not change, but its vectors were asked for anew
    assert (verdict.stale, verdict.orphans, verdict.pending, verdict.dead) == (1, 0, 0, 2)


def test_a_repair_does_not_take_the_vector_of_a_key_that_was_asked_for_anew(
    connection: psycopg.Connection, index: RegisteredIndex, database: str
) -> None:
    add(connection, 1)
    drain(database)
    requeue_rows(connection, index, None)
    verify_index(connection, index, repair=True)
    log = ChangeLog(index, "a", lease=PAST)

    while log.claim(connection, 100):
        pass

    assert connection.execute("SELECT id FROM article_search").fetchall() == [(1,)]


def test_a_row_of_an_heir_in_the_same_place_keeps_its_vector(
    connection: psycopg.Connection, database: str
) -> None:
    create_article_table(connection)
    index = add_index(connection, text=("title",), storage="column", chunking=None)
    connection.execute("CREATE TABLE heir () INHERITS (article)")
    connection.execute("INSERT INTO heir (id, title) VALUES (11, '11')")
    add(connection, 1)
    verify_index(connection, index, repair=True)  # no trigger of ours is on the heir
    drain(database)
    connection.execute("UPDATE ONLY article SET title = 'fatal'")
    connection.execute("VACUUM FULL article")
    connection.execute("VACUUM FULL heir")
    assert connection.execute("SELECT DISTINCT ctid FROM article").rowcount == 1
    log = ChangeLog(index, "a", lease=PAST)

    while log.claim(connection, 100):
        pass

    found = connection.execute("SELECT id FROM article WHERE embedding IS NOT NULL")
    assert found.fetchall() == [(11,)]


def test_only_the_key_that_kills_its_workers_is_buried(
    connection: psycopg.Connection, index: RegisteredIndex, database: str
) -> None:
    add(connection, 17)
    worker = HandWorker(database, index, lease=PAST)
    crashes = 0
    while (batch := worker.log.claim(worker.connection, 100)) is not None:
        if "13" in batch.key_columns[0]:
            crashes += 1
            continue
        prepared = worker.ingest.prepare(worker.connection, batch)
        worker.ingest.embed(prepared)
        worker.write(prepared)
    worker.close()

    verdict = verify_all(database)
    assert crashes == MOST_CRASHES
    assert connection.execute("SELECT key FROM embedsql.dead_letter").fetchall() == [(13,)]
    assert (verdict.missing, verdict.stale, verdict.orphans, verdict.pending) == (1, 0, 0, 0)


def test_an_edit_brings_a_buried_key_back(
    connection: psycopg.Connection, index: RegisteredIndex, database: str
) -> None:
    add(connection, 1)
    log = ChangeLog(index, "a", lease=PAST)
    for _ in range(MOST_CRASHES):
        assert log.claim(connection, 10) is not None
    connection.execute("UPDATE article SET title = 'harmless now'")  # while the third holds it

    worker = HandWorker(database, index)
    worker.work()
    worker.close()

    assert verify_all(database).ok
