"""``embedsql worker`` as processes that start at once: forked from one that has imported it all."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.context import ForkServerProcess

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["embedsql.cli", "embedsql.worker"])


def start_worker(info: str) -> ForkServerProcess:
    """The command's own code, on the default settings, in a process of its own."""
    process = _CONTEXT.Process(target=_work, args=(info,), daemon=True)
    process.start()
    return process


def _work(info: str) -> None:
    from embedsql.cli import app

    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    app(["worker", "--database-url", info], standalone_mode=False)
