"""A batch: keys that one worker claimed under one lease."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

LEASE_SECONDS = 30.0

# Till the transaction ends. A plan that was kept from the time when a table was small would read
# all of it, for each key even. (What has no index is read whole still, at a price that would set
# off JIT before PostgreSQL 18.)
# A worker that stands still in the midst of a transaction would keep all others from claiming. And
# floating-point keys go back and forth as texts.
BY_INDEX = """set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true),
    set_config('idle_in_transaction_session_timeout', '30s', true),
    set_config('extra_float_digits', '1', true)"""

# The rows of a batch are looked up one by one, too: the planner may think it cheaper to read all of
# a table for each batch, and to hash every text of it.
BY_KEY = f"{BY_INDEX}, set_config('enable_hashjoin', 'off', true)"

BRIEFLY = "set_config('lock_timeout', '500ms', true)"

_ADVISORY_SPACE = 0x65_6D_62_73  # "embs"


@dataclass(frozen=True)
class Batch:
    """Claimed keys under one lease.

    Attributes:
        batch_id: Its row in the batch table: the fence that a write must delete first.
        key_columns: The source keys as texts, a sequence for each column of the key.
        versions: The highest log sequence seen for each key; 0 where a backfill found it.
        seqs: Every log sequence seen for these keys; what an acknowledgement deletes.
    """

    batch_id: int
    key_columns: Sequence[Sequence[str]]
    versions: Sequence[int]
    seqs: Sequence[int]

    @classmethod
    def of(cls, found: tuple[Any, ...]) -> Batch:
        """From a row of the batch table: id, an array for each key column, versions, sequences."""
        batch_id, *key_columns, versions, seqs = found
        return cls(batch_id, key_columns, versions, seqs)

    def __len__(self) -> int:
        return len(self.versions)


def claimers_lock(connection: psycopg.Connection, index_id: int) -> None:
    """Until the transaction ends, the only claimer: two would see the same keys as free.

    Its commit does not wait for the disk: a claim that a crash of the server undoes is made again.
    And it waits briefly for whoever truncated the source, and our tables with it, and is loading it
    anew: other indexes have work, too.
    """
    connection.execute(
        "SELECT set_config('lock_timeout', '2s', true), pg_advisory_xact_lock(%s, %s), "
        f"set_config('synchronous_commit', 'off', true), {BRIEFLY}, {BY_INDEX}",
        [_ADVISORY_SPACE, index_id],
    )
