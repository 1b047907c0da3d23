"""pgqueuer: enqueue no-op jobs in one call, then time how long they take to be gone.

Once by its queries alone, a batch claimed and the same batch acknowledged; once by its worker.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from datetime import timedelta
from typing import Any

import asyncpg
from pgqueuer import AsyncpgDriver, Job, QueueManager
from pgqueuer.ports.repository import EntrypointExecutionParameter
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

ENTRYPOINT = "noop"
HEARTBEAT = timedelta(seconds=30)


async def main(settings: dict[str, Any]) -> dict[str, float]:
    """Both ways or one, on one connection each."""
    ways = {"its queries": by_queries, "its worker": by_worker}
    seconds = {}
    for name in [settings["way"]] if "way" in settings else ways:
        connection = await asyncpg.connect(**settings["server"])
        queries = Queries(AsyncpgDriver(connection))
        if not await queries.schema_is_installed():
            await queries.install()
        await queries.clear_queue()
        await queries.clear_queue_log()
        items = settings["items"]
        await queries.enqueue([ENTRYPOINT] * items, [None] * items, [0] * items)
        started = time.perf_counter()
        await ways[name](queries, settings["batch"])
        seconds[name] = time.perf_counter() - started
        await connection.close()
    return seconds


async def by_queries(queries: Queries, batch: int) -> None:
    """Claim, acknowledge, until nothing is left."""
    entrypoints = {ENTRYPOINT: EntrypointExecutionParameter(concurrency_limit=0)}
    worker = uuid.uuid4()
    while jobs := await queries.dequeue(batch, entrypoints, worker, None, HEARTBEAT):
        await queries.log_jobs([(job, "successful", None) for job in jobs])


async def by_worker(queries: Queries, batch: int) -> None:
    """Its queue manager, whose run ends when the queue is empty."""
    manager = QueueManager(queries)

    @manager.entrypoint(ENTRYPOINT)
    async def noop(job: Job) -> None:
        """Nothing."""

    await manager.run(batch_size=batch, mode=QueueExecutionMode.drain)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
