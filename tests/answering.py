"""A worker in a thread, that answers the mailbox."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from embedsql.database import connect
from embedsql.worker import Worker, WorkerOptions


def eventually(condition: Callable[[], bool], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.01)


@contextlib.contextmanager
def answering_worker(conninfo: str) -> Iterator[Worker]:
    """A worker that has answered a question already, so that it answers others at once."""
    worker = Worker(conninfo, WorkerOptions(poll_interval=0.2))
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        with connect(conninfo) as connection:
            ask = (
                "SELECT bool_or(embedsql.post_query(name, 'first question') IS NOT NULL), "
                "count(v.vector) = count(*) FROM embedsql.semantic_index, "
                "embedsql.await_query(name, 'first question', 50) AS v"
            )
            eventually(lambda: bool((connection.execute(ask).fetchone() or (0, 0))[1]))
            left = "SELECT count(*) FROM embedsql.query_request"
            eventually(lambda: connection.execute(left).fetchone() == (0,))
            connection.execute("DELETE FROM embedsql.query_vector")
        yield worker
    finally:
        worker.stop()
        thread.join()
