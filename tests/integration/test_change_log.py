"""Claims: what a worker gets, what two never get at once, and how keys come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from embedsql.changelog import Batch, ChangeLog
from embedsql.changelog.batch import claimers_lock
from embedsql.database import connect
from embedsql.errors import LeaseLostError
from embedsql.registry import RegisteredIndex
from tests.factories import add_index, create_article_table, take_log

LOG = "SELECT seq, key_1 FROM embedsql.article_search_log ORDER BY seq"
PAST = -1.0  # a lease that has run out as soon as it is given


@pytest.fixture
def index(connection: psycopg.Connection) -> RegisteredIndex:
    create_article_table(connection)
    return add_index(connection, text=("title",))


@pytest.fixture
def second(database: str) -> Iterator[psycopg.Connection]:
    with connect(database) as opened:
        yield opened


def add(connection: psycopg.Connection, *keys: int) -> None:
    connection.execute(
        "INSERT INTO article (id, title) SELECT u, 'text of ' || u FROM unnest(%s::int[]) AS u",
        [list(keys)],
    )


def keys_of(batch: Batch | None) -> list[int]:
    return [] if batch is None else [int(key) for key in batch.key_columns[0]]


def test_a_claim_folds_repeated_keys_and_knows_every_sequence(
    connection: psycopg.Connection, index: RegisteredIndex
) -> None:
    add(connection, 7, 5, 6)
    for title in "abc":
        connection.execute("UPDATE article SET title = %s WHERE id <> 6", [title])
    logged = connection.execute(LOG).fetchall()

    batch = ChangeLog(index, "a").claim(connection, 10)

    assert batch is not None
    assert keys_of(batch) == [7, 5, 6]  # oldest change first
    assert dict(zip(keys_of(batch), batch.versions, strict=True)) == {
        key: max(seq for seq, other in logged if other == key) for key in (5, 6, 7)
    }
    assert batch.seqs == [seq for seq, _ in logged]


def test_a_claim_takes_no_sequence_of_a_key_it_leaves(
    connection: psycopg.Connection, index: RegisteredIndex
) -> None:
    add(connection, 1, 2, 3)
    connection.execute("UPDATE article SET title = 'x'")
    owner: dict[int, int] = dict(connection.execute(LOG).fetchall())

    batch = ChangeLog(index, "a").claim(connection, 2)

    assert batch is not None
    assert {owner[seq] for seq in batch.seqs} == {1, 2} == set(keys_of(batch))


def test_a_claimed_key_is_nobody_elses_however_often_it_changes(
    connection: psycopg.Connection, second: psycopg.Connection, index: RegisteredIndex
) -> None:
    add(connection, 1, 2)
    assert keys_of(ChangeLog(index, "a").claim(connection, 10)) == [1, 2]
    connection.execute("UPDATE article SET title = 'x'")
    other = ChangeLog(index, "b")

    assert other.claim(second, 10) is None
    add(connection, 3)
    assert keys_of(other.claim(second, 10)) == [3]


def test_claims_at_the_same_time_share_the_keys_out(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    connection.execute("INSERT INTO article (title) SELECT 'x' FROM generate_series(1, 120)")
    claimed: list[int] = []

    def work(name: str) -> None:
        with connect(database) as own:
            while batch := ChangeLog(index, name).claim(own, 3):
                claimed.extend(keys_of(batch))

    threads = [threading.Thread(target=work, args=[f"w{n}"]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(claimed) == list(range(1, 121))


def test_the_default_isolation_of_the_database_changes_nothing(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    connection.execute(
        f"ALTER DATABASE {connection.info.dbname} "
        "SET default_transaction_isolation = 'repeatable read'".encode()
    )
    add(connection, 1)
    claimed: list[int] = []

    def claim_meanwhile() -> None:
        with connect(database) as own:  # waits for the claim before it, then looks for free keys
            claimed.extend(keys_of(ChangeLog(index, "b").claim(own, 10)))

    thread = threading.Thread(target=claim_meanwhile)
    with connection.transaction():
        assert keys_of(ChangeLog(index, "a").claim(connection, 10)) == [1]
        thread.start()
        waits = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while thread.is_alive() and not connection.execute(waits).fetchall():
            time.sleep(0.01)
    thread.join()

    assert claimed == []


@pytest.mark.parametrize("hint", [False, True])
def test_a_late_commit_with_a_lower_sequence_is_claimed(
    connection: psycopg.Connection, second: psycopg.Connection, index: RegisteredIndex, hint: bool
) -> None:
    log = ChangeLog(index, "a")
    with second.transaction():
        add(second, 1)
        add(connection, 2)
        if hint:
            log.refresh_hint(connection)
        assert keys_of(log.claim(connection, 10)) == [2]
    if hint:  # a worker refreshes it every few seconds, and does not call the log empty before
        assert not log.is_empty(connection)
        log.refresh_hint(connection)

    assert keys_of(log.claim(connection, 10)) == [1]


def test_the_hint_steps_over_nothing_that_is_there(
    connection: psycopg.Connection, index: RegisteredIndex
) -> None:
    log = ChangeLog(index, "a")
    add(connection, 1, 2)
    log.refresh_hint(connection)
    assert keys_of(log.claim(connection, 1)) == [1]
    log.refresh_hint(connection)
    assert keys_of(log.claim(connection, 1)) == [2]
    take_log(connection, index)
    log.refresh_hint(connection)
    add(connection, 3)
    assert keys_of(log.claim(connection, 10)) == [3]


def test_release_gives_the_keys_back(
    connection: psycopg.Connection, second: psycopg.Connection, index: RegisteredIndex
) -> None:
    add(connection, 1, 2)
    log, other = ChangeLog(index, "a"), ChangeLog(index, "b")
    batch = log.claim(connection, 10)
    assert batch is not None
    other.release(second, batch)  # not its own: nothing happens
    assert other.claim(second, 10) is None

    log.release(connection, batch)

    assert keys_of(other.claim(second, 10)) == [1, 2]


def test_a_lost_lease_is_not_renewed_and_fences_off_its_old_owner(
    connection: psycopg.Connection, second: psycopg.Connection, index: RegisteredIndex
) -> None:
    add(connection, 1)
    log, other = ChangeLog(index, "a", lease=PAST), ChangeLog(index, "b")
    batch = log.claim(connection, 10)
    assert batch is not None
    assert log.renew(connection, batch)  # run out, but nobody came for it: still ours

    taken = other.claim(second, 10)

    assert keys_of(taken) == [1]
    assert not log.renew(connection, batch)
    with pytest.raises(LeaseLostError):
        log.fence(connection, batch)
    log.release(connection, batch)
    assert taken is not None
    assert other.renew(second, taken)


def test_due_keys_are_woken_and_dead_ones_revived(
    connection: psycopg.Connection, index: RegisteredIndex
) -> None:
    connection.execute(
        "INSERT INTO embedsql.failure "
        "(index_id, key, version, attempts, next_attempt_at, dead, error_class, error) VALUES "
        "(%(index)s, '1', 5, 2, now() - interval '1 s', false, 'E', 'due'), "
        "(%(index)s, '2', 5, 2, now() + interval '5 min', false, 'E', 'waits'), "
        "(%(index)s, '3', 5, 5, NULL, true, 'E', 'dead')",
        {"index": index.index_id},
    )
    log = ChangeLog(index, "a")
    state = "SELECT key, version, attempts, next_attempt_at IS NULL, dead FROM embedsql.failure"

    due = log.claim(connection, 10)
    assert due is not None
    assert keys_of(due) == [1]
    assert log.claim(connection, 10) is None
    assert log.revive(connection) == 1
    assert log.revive(connection) == 0
    revived = log.claim(connection, 10)
    assert revived is not None
    assert keys_of(revived) == [3]

    # the new version is the new sequence: a higher one would be an edit
    assert sorted(connection.execute(state)) == [
        (1, due.versions[0], 2, True, False),
        (2, 5, 2, False, False),
        (3, revived.versions[0], 0, True, False),
    ]
    assert not log.is_empty(connection)


def test_claims_look_further_where_one_key_changed_many_times(
    connection: psycopg.Connection, index: RegisteredIndex
) -> None:
    add(connection, 1)
    for number in range(100):
        connection.execute("UPDATE article SET title = %s", [f"title {number}"])
    add(connection, 2, 3, 4)
    change_log = ChangeLog(index, "a")
    claims = 0

    while (batch := change_log.claim(connection, 2)) is not None:
        claims += 1
        change_log.release(connection, batch)
        connection.execute(
            "DELETE FROM embedsql.article_search_log WHERE seq = ANY (%s)", [list(batch.seqs)]
        )

    assert claims < 10  # windows of 2, 4, 8, 16, 32, 32 rows, not of 2
    assert connection.execute(LOG).fetchall() == []


def test_a_claim_that_cannot_find_anything_waits_for_no_other_claimer(
    connection: psycopg.Connection, second: psycopg.Connection, index: RegisteredIndex
) -> None:
    log = ChangeLog(index, "a")
    assert log.claim(connection, 10) is None
    with second.transaction():
        claimers_lock(second, index.index_id)
        connection.execute("SET lock_timeout = '50ms'")

        assert log.claim(connection, 10) is None

        add(connection, 1)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            log.claim(connection, 10)
    connection.execute("RESET lock_timeout")
    assert keys_of(log.claim(connection, 10)) == [1]


def test_who_found_nothing_finds_what_others_leave_behind(
    connection: psycopg.Connection, index: RegisteredIndex
) -> None:
    log, short = ChangeLog(index, "a"), ChangeLog(index, "b", lease=PAST)
    assert log.claim(connection, 10) is None
    add(connection, 1)
    assert keys_of(short.claim(connection, 10)) == [1]
    assert keys_of(log.claim(connection, 10)) == [1]  # its lease ran out

    assert log.claim(connection, 10) is None
    connection.execute(
        "INSERT INTO embedsql.failure "
        "(index_id, key, version, attempts, dead, error_class, error, next_attempt_at) "
        "VALUES (%s, '2', 1, 1, false, 'ValueError', 'x', now())",
        [index.index_id],
    )
    assert keys_of(log.claim(connection, 10)) == [2]


def test_a_look_waits_briefly_for_a_log_that_somebody_locked(
    connection: psycopg.Connection, second: psycopg.Connection, index: RegisteredIndex
) -> None:
    log = ChangeLog(index, "a")
    assert log.claim(connection, 10) is None
    connection.execute("SET statement_timeout = '20s'")
    with second.transaction():
        second.execute("LOCK TABLE embedsql.article_search_log IN ACCESS EXCLUSIVE MODE")

        with pytest.raises(psycopg.errors.LockNotAvailable):
            log.claim(connection, 10)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            log.refresh_hint(connection)
