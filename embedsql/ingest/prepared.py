"""A batch on its way from its texts to its vectors."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from weakref import WeakSet

from embedsql.changelog import Batch
from embedsql.store import Encoded, Failure, Row


@dataclass(eq=False)
class PreparedBatch:
    """What is known of a batch before the model runs.

    Attributes:
        batch: The claim.
        rows: Its rows that still exist.
        vectors: Stored vectors that serve again, by digest; the model's are added here.
        beside: Batches that were not written when this one was read, whose vectors it may share.
        anew: Digests of chunks for which the model is to run whatever was made before.
        reused: Chunks that need no run of the model, since an equal one's vector serves.
        made: Distinct chunks that the model embedded.
        refused: What there is of those it refused, by digest.
    """

    batch: Batch
    rows: Sequence[Row]
    vectors: dict[bytes, Encoded]
    beside: Sequence[PreparedBatch] = ()
    anew: Set[bytes] = frozenset()
    reused: int = 0
    made: int = 0
    refused: Mapping[bytes, Encoded] = field(default_factory=dict)

    def missing(self) -> dict[bytes, str]:
        """The distinct texts to embed, by digest."""
        known = self.vectors.keys()
        return {
            content_hash: chunk.content
            for row in self.rows
            for content_hash, chunk in zip(row.hashes, row.chunks or (), strict=True)
            if content_hash not in known
        }

    def done(self, failures: Sequence[Failure]) -> tuple[Sequence[Row], Sequence[Row]]:
        """Rows that did not fail and whose chunks have their vectors, and those that failed.

        The others were left out, since the worker was asked to stop.
        """
        at_fault = {failure.place for failure in failures}
        has_vector = self.vectors.__contains__
        done = [row for row in self.rows if all(map(has_vector, row.hashes))]
        if not at_fault:
            return done, ()
        return (
            [row for row in done if row.place not in at_fault],
            [row for row in self.rows if row.place in at_fault],
        )


class Unwritten:
    """Batches whose vectors no look-up finds yet. They share them: all are of one space."""

    def __init__(self) -> None:
        self._batches = WeakSet[PreparedBatch]()
        self._guard = threading.Lock()

    def add(self, prepared: PreparedBatch) -> None:
        """Show a batch those before it, and itself to those after it.

        Before its texts are looked up: what is written meanwhile may be missed by the look-up.
        """
        with self._guard:
            prepared.beside = list(self._batches)
            self._batches.add(prepared)

    def discard(self, prepared: PreparedBatch) -> None:
        """It is written."""
        with self._guard:
            self._batches.discard(prepared)
