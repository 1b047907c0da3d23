"""An index on a subscriber of logical replication: what triggers miss, and what mends it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from embedsql.database import connect, conninfo
from embedsql.installation import install
from embedsql.registry import find_index
from embedsql.verify import verify_index
from tests.factories import add_index, create_article_table, drain, stored_chunks, verify_all
from tests.servers import own_server

FIRST = "INSERT INTO article (title) SELECT 'text ' || n FROM generate_series(1, 5) AS n"
LIVE = """
INSERT INTO article (id, title) VALUES (7, 'new');
UPDATE article SET title = 'edited' WHERE id = 1;
UPDATE article SET id = 8 WHERE id = 2;
DELETE FROM article WHERE id = 3;
"""
EXPECTED = [(1, "edited"), (4, "text 4"), (5, "text 5"), (7, "new"), (8, "text 2")]
# every table of the subscription has been copied
SYNCED = "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel"
APPLIED = "SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots WHERE slot_name = 's'"


@dataclass(frozen=True)
class Pair:
    """A publisher and its subscriber, two databases of one server."""

    publisher: str
    subscriber: str

    def subscribe(self) -> None:
        """Copy what there is, then follow."""
        with connect(self.publisher) as publisher, connect(self.subscriber) as subscriber:
            publisher.execute("CREATE PUBLICATION p FOR TABLE article")
            # made by hand: within one server, CREATE SUBSCRIPTION would wait for itself
            publisher.execute("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
            subscriber.execute(
                sql.SQL(
                    "CREATE SUBSCRIPTION s CONNECTION {} PUBLICATION p "
                    "WITH (create_slot = false, slot_name = s)"
                ).format(self.publisher)
            )
            eventually(lambda: one(subscriber, SYNCED))

    def publish(self, changes: str) -> None:
        """Change the publisher's rows, and wait until the subscriber has applied it."""
        with connect(self.publisher) as publisher:
            publisher.execute(changes.encode())
            (position,) = publisher.execute("SELECT pg_current_wal_lsn()::text").fetchone() or ()
            eventually(lambda: one(publisher, APPLIED, position))


def one(connection: psycopg.Connection, question: str, *values: object) -> bool:
    found = connection.execute(question.encode(), values).fetchone()
    return found is not None and bool(found[0])


def eventually(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def logical_server() -> Iterator[str]:
    with own_server(wal_level="logical") as server:
        yield conninfo(server.url)


@pytest.fixture
def pair(logical_server: str) -> Iterator[Pair]:
    """The same table in both databases, rows in the publisher's, the kit in the subscriber's."""
    made = Pair(*(make_conninfo(logical_server, dbname=name) for name in ("pub", "sub")))
    with connect(logical_server) as server:
        server.execute("CREATE DATABASE pub")
        server.execute("CREATE DATABASE sub")
    with connect(made.publisher) as publisher, connect(made.subscriber) as subscriber:
        create_article_table(publisher)
        publisher.execute(FIRST)
        install(subscriber)
        create_article_table(subscriber)
    yield made
    with connect(made.subscriber) as subscriber:
        subscriber.execute("DROP SUBSCRIPTION s")  # and the slot with it
    with connect(logical_server) as server:
        server.execute("DROP DATABASE pub WITH (FORCE)")
        server.execute("DROP DATABASE sub WITH (FORCE)")


def test_what_a_subscription_brings_is_found_and_mended_by_verify(pair: Pair) -> None:
    with connect(pair.subscriber) as subscriber:
        index = add_index(subscriber)
        pair.subscribe()
        assert repair(pair) == (5, 0, 0)
        drain(pair.subscriber)
        assert len(stored_chunks(subscriber, index)) == 5

        pair.publish(LIVE)
        assert repair(pair) == (2, 1, 2)
        drain(pair.subscriber)

        assert stored_chunks(subscriber, index) == EXPECTED
        assert verify_all(pair.subscriber).ok


def test_an_index_that_is_declared_replicated_misses_nothing(pair: Pair) -> None:
    with connect(pair.subscriber) as subscriber:
        index = add_index(subscriber, replicated=True)
        pair.subscribe()
        drain(pair.subscriber)
        assert len(stored_chunks(subscriber, index)) == 5

        pair.publish(LIVE)
        drain(pair.subscriber)

        assert stored_chunks(subscriber, index) == EXPECTED
        assert verify_all(pair.subscriber).ok


def test_rows_that_were_copied_before_the_index_are_embedded_with_it(pair: Pair) -> None:
    pair.subscribe()
    with connect(pair.subscriber) as subscriber:
        index = add_index(subscriber)
        drain(pair.subscriber)

        assert len(stored_chunks(subscriber, index)) == 5
        assert verify_all(pair.subscriber).ok


def repair(pair: Pair) -> tuple[int, int, int]:
    """What was missing, stale and orphaned on the subscriber, until now."""
    with connect(pair.subscriber) as subscriber:
        found = verify_index(subscriber, find_index(subscriber, "article_search"), repair=True)
    return found.missing, found.stale, found.orphans
