"""An event loop in a thread of its own: a plain call awaits many requests, inside a loop or not."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loops: dict[int, asyncio.AbstractEventLoop] = {}


def run(coroutine: Coroutine[Any, Any, T], seconds: float) -> T:
    """What a coroutine returns, or raises; it is cancelled where the caller is interrupted.

    Raises:
        TimeoutError: It was cancelled after so many seconds.
    """
    future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(coroutine, seconds), _loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _loop() -> asyncio.AbstractEventLoop:
    with _lock:
        process = os.getpid()  # a fork takes the loop along, but not its thread
        if process not in _loops:
            loop = _loops[process] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="embedsql requests", daemon=True).start()
        return _loops[process]
