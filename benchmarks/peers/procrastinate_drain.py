"""procrastinate: defer no-op jobs in one call, then time its worker until they are done."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import procrastinate


async def main(settings: dict[str, Any]) -> dict[str, float]:
    """The worker, once for each number of jobs at a time or for one."""
    ways = {f"{number} at a time": number for number in (1, 4, 16)}
    seconds = {}
    for name in [settings["way"]] if "way" in settings else ways:
        concurrency = ways[name]
        connector = procrastinate.PsycopgConnector(
            conninfo=settings["conninfo"], min_size=concurrency + 2, max_size=concurrency + 2
        )
        app = procrastinate.App(connector=connector)

        @app.task(name="noop")
        async def noop() -> None:
            """Nothing."""

        async with app.open_async():
            if not await app.check_connection_async():
                await app.schema_manager.apply_schema_async()
            await noop.batch_defer_async(*[{} for _ in range(settings["items"])])
            started = time.perf_counter()
            await app.run_worker_async(
                wait=False,
                concurrency=concurrency,
                delete_jobs="always",
                listen_notify=False,
                install_signal_handlers=False,
            )
            seconds[name] = time.perf_counter() - started
    return seconds


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
