"""The worker: claims, embeds and writes batches of every index, until told to stop.

A batch's way through the threads is told in ``loop``.
"""

from __future__ import annotations

from embedsql.worker.loop import Worker
from embedsql.worker.options import WorkerOptions
from embedsql.worker.report import WorkerReport

__all__ = ["Worker", "WorkerOptions", "WorkerReport"]
