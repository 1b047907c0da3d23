"""No-op items claimed and acknowledged a second, against pgqueuer and procrastinate.

An item of ours is a changed row with nothing to embed: one that is gone (a claim, and a write that
looks at the source before it acknowledges) or one whose text is what it was (its text is read and
compared besides). The peers' items are jobs that do nothing, enqueued in one call, not timed.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import psycopg
from pgvector.psycopg import register_vector
from psycopg.conninfo import conninfo_to_dict

from benchmarks.peers import PGQUEUER, PROCRASTINATE, Peer, PeerAbsentError
from benchmarks.report import write_report
from benchmarks.stage import (
    interleaved,
    make_article,
    ratio,
    set_triggers,
    temporary_server,
    texts,
    trigger_definitions,
)
from embedsql.changelog import Batch, ChangeLog
from embedsql.database import connect
from embedsql.embedders import load_embedder
from embedsql.ingest import Ingest
from embedsql.store import Outcome, Vectors
from embedsql.worker import Worker, WorkerOptions

GOALS: dict[str, dict[str, float]] = {
    PGQUEUER.name: {"floor": 1.5, "goal": 4},
    PROCRASTINATE.name: {"floor": 30, "goal": 100},
}
OURS = "embedsql, claim and guarded acknowledge"
OURS_WHOLE = "embedsql, claim, read, guarded acknowledge"
OUR_SIDES = (OURS, OURS_WHOLE)
ITEMS = 20_000
BATCH = 256
PEERS = {PGQUEUER: ITEMS, PROCRASTINATE: 500}  # how many items: one is slow


class Items:
    """Rows of ``article``, embedded once, and what changes them so that nothing is to embed."""

    def __init__(self, info: str, connection: psycopg.Connection) -> None:
        self._connection = connection
        index = make_article(connection)
        self._triggers = trigger_definitions(connection)
        self._change_log = ChangeLog(index, "benchmark")
        self._ingest = Ingest(index, load_embedder(index.spec.model), self._change_log)
        self._vectors = Vectors(index)
        register_vector(connection)
        with (
            connection.cursor() as cursor,
            cursor.copy("COPY article (id, body) FROM STDIN") as copy,
        ):
            for row in enumerate(texts(ITEMS, 300), 1):
                copy.write_row(row)
        Worker(info, WorkerOptions(drain=True)).run()

    def gone(self) -> float:
        """Seconds of an item: rows that came without the triggers' notice and were deleted."""
        set_triggers(self._connection, {})
        self._connection.execute(
            "INSERT INTO article (id, body) SELECT -n, 'gone' FROM generate_series(1, %s) AS n",
            [ITEMS],
        )
        set_triggers(self._connection, self._triggers)
        self._connection.execute("DELETE FROM article WHERE id < 0")
        return self._drain(
            lambda batch: self._vectors.write(self._connection, self._change_log, batch, (), {})
        )

    def unchanged(self) -> float:
        """Seconds of an item: rows that were given a blank at their end, which is not embedded."""
        self._connection.execute("UPDATE article SET body = body || ' '")

        def acknowledge(batch: Batch) -> Outcome:
            prepared = self._ingest.prepare(self._connection, batch)
            return self._ingest.write(self._connection, prepared, ())

        return self._drain(acknowledge)

    def _drain(self, acknowledge: Callable[[Batch], Outcome]) -> float:
        found = 0
        started = time.perf_counter()
        while (batch := self._change_log.claim(self._connection, BATCH)) is not None:
            outcome = acknowledge(batch)
            found += outcome.saved + outcome.gone
        seconds = time.perf_counter() - started
        if found != ITEMS or not self._change_log.is_empty(self._connection):
            raise RuntimeError(f"{found} of {ITEMS} items were acknowledged")
        return seconds / ITEMS


def main() -> None:
    """All sides in turn, on one server; each peer in the way that was its best before."""
    with temporary_server() as info, connect(info) as connection:
        items = Items(info, connection)
        sides = {OURS: items.gone, OURS_WHOLE: items.unchanged}
        absent: dict[str, str] = {}
        ways: dict[str, dict[str, float]] = {}
        for peer in PEERS:
            try:
                ways[peer.name] = drain_peer(peer, info)
            except PeerAbsentError as error:
                absent[peer.name] = str(error)
                continue
            best = min(ways[peer.name], key=ways[peer.name].__getitem__)
            sides[peer.name] = functools.partial(drain_best, peer, info, best)
        seconds = interleaved(list(sides), lambda side: sides[side]())
    figures: dict[str, Any] = {
        "items per second, best": {side: round(1 / min(each)) for side, each in seconds.items()},
        "items per second, by a peer's ways": {
            name: {way: round(1 / each) for way, each in found.items()}
            for name, found in ways.items()
        },
    }
    per_thousand = {side: [one * 1000 for one in each] for side, each in seconds.items()}
    for peer in PEERS:
        compared: dict[str, Any] = {"absent": absent.get(peer.name)}
        if peer.name in seconds:
            compared = {
                ours: ratio(per_thousand[peer.name], per_thousand[ours]) for ours in OUR_SIDES
            }
        figures[peer.name] = compared | GOALS[peer.name]
    write_report("queue", figures)


def drain_peer(peer: Peer, info: str, **only: Any) -> dict[str, float]:
    """Seconds of one of a peer's items, for each way that it offers, or for one."""
    server = conninfo_to_dict(info)
    settings = {
        "items": PEERS[peer],
        "batch": BATCH,
        "conninfo": info,
        "server": {"host": server["host"], "user": server["user"], "database": server["dbname"]},
        **only,
    }
    found = peer.measure(f"{peer.name.split()[0]}_drain.py", settings)
    return {way: seconds / PEERS[peer] for way, seconds in found.items()}


def drain_best(peer: Peer, info: str, way: str) -> float:
    """Seconds of one of a peer's items, in one way."""
    return drain_peer(peer, info, way=way)[way]


if __name__ == "__main__":
    main()
