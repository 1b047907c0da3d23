"""A batch: keys that one worker claimed under one lease."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

LEASE_SECONDS = 30.0

Key = tuple[str, ...]
_ADVISORY_SPACE = 0x65_6D_62_73  # "embs"


@dataclass(frozen=True)
class Batch:
    """Claimed keys under one lease.

    Attributes:
        batch_id: Its row in the batch table: the fence that a write must delete first.
        keys: The source keys, each a tuple of texts in the key's column order.
        versions: The highest log sequence seen for each key; 0 where a backfill found it.
        seqs: Every log sequence seen for these keys; what an acknowledgement deletes.
    """

    batch_id: int
    keys: Sequence[Key]
    versions: Sequence[int]
    seqs: Sequence[int]

    @classmethod
    def of(cls, found: tuple[Any, ...]) -> Batch:
        """From a row of the batch table: id, an array for each key column, versions, sequences."""
        batch_id, *arrays, versions, seqs = found
        return cls(batch_id, list(zip(*arrays, strict=True)), versions, seqs)

    def key_arrays(self) -> dict[str, list[Any]]:
        """``{"key_1": [...], "key_2": [...]}``: the keys as statement parameters."""
        columns = zip(*self.keys, strict=True)
        return {f"key_{place}": list(values) for place, values in enumerate(columns, 1)}


def claimers_lock(connection: psycopg.Connection, index_id: int) -> None:
    """Until the transaction ends, the only claimer: two would see the same keys as free.

    Its commit does not wait for the disk: a claim that a crash of the server undoes is made again.
    """
    connection.execute(
        "SELECT pg_advisory_xact_lock(%s, %s), set_config('synchronous_commit', 'off', true)",
        [_ADVISORY_SPACE, index_id],
    )
