"""The server's clock is set back: nothing waits for as long as it was wrong.

What was written by a clock that was ahead by a day is of a day to come, as it is made here.
"""

from __future__ import annotations

import psycopg
import pytest

from embedsql.errors import ConfigurationError
from embedsql.reembed.stand_in import StandIn
from embedsql.status import index_status, workers
from embedsql.worker import WorkerOptions
from tests.factories import (
    HandWorker,
    RecordingEmbedder,
    add_index,
    create_article_table,
    until,
    verify_all,
)

SET_BACK = """
UPDATE embedsql.article_search_log SET at = at + interval '1 day';
UPDATE embedsql.article_search_batch SET leased_until = leased_until + interval '1 day';
UPDATE embedsql.failure SET next_attempt_at = next_attempt_at + interval '1 day';
INSERT INTO embedsql.worker (worker, release, rates, saved, failed, embedded, reused, seen_at)
    VALUES ('dead', '0', '{}', 0, 0, 0, 0, now() + interval '1 day');
"""


def test_a_clock_that_is_set_back_keeps_nothing_waiting(
    connection: psycopg.Connection, database: str
) -> None:
    create_article_table(connection)
    index = add_index(connection)
    connection.execute("INSERT INTO article (title) VALUES ('retried')")
    failing = HandWorker(database, index, embedder=RecordingEmbedder(""))
    failing.work()
    connection.execute("INSERT INTO article (title) VALUES ('leased')")
    failing.claim()  # and dies
    failing.close()
    connection.execute("INSERT INTO article (title) VALUES ('logged')")

    connection.execute(SET_BACK)

    assert index_status(connection)[0].oldest_pending_seconds == 0
    with StandIn(database, WorkerOptions()) as stand_in:
        stand_in.ensure(connection)
        assert stand_in.works  # for the dead worker, last seen tomorrow, nobody waits
        until(lambda: verify_all(database).ok)
    assert workers(connection) == []


def test_a_lease_that_others_would_take_for_such_a_clocks_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="take 600 or less"):
        WorkerOptions(lease=601)
