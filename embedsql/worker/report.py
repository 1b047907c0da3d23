"""What a worker has done so far."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class WorkerReport:
    """What a worker has done so far.

    Attributes:
        saved: Rows written, or found to be right already.
        removed: Rows whose vectors were removed, since they are gone.
        embedded: Distinct chunks that the model embedded.
        reused: Chunks whose vector was there already.
        failed: Rows that failed, each time counted.
        batches: Batches worked off.
        batch_seconds: Seconds spent on them.
        settled: Rows saved or removed, by index.
        problems: Indexes that could not be worked on, with why.
    """

    saved: int = 0
    removed: int = 0
    embedded: int = 0
    reused: int = 0
    failed: int = 0
    batches: int = 0
    batch_seconds: float = 0.0
    settled: Counter[str] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)
