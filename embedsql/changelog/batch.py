"""A batch: keys that one worker claimed under one lease."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

LEASE_SECONDS = 30.0
LONGEST_LEASE_SECONDS = 600.0  # what claims to be longer was made by another clock

# Settings for the rest of a transaction. No sequential scans: a plan that the connection cached
# while a table was small would read all of it now, perhaps once for each key. No JIT: what has no
# index is still read sequentially, at a penalty so high that PostgreSQL before 18 would compile it.
# Two more concern all that a worker does: one that hangs within a transaction would keep the others
# from claiming, so the server ends it; and keys travel as texts, so that floating-point keys need
# all their digits.
BY_INDEX = """set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true),
    set_config('idle_in_transaction_session_timeout', '30s', true),
    set_config('extra_float_digits', '1', true)"""

# For statements that look up a batch's rows by key: for a hash join, the whole source would be read
# for each batch, and every text of it hashed.
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
    """Be the index's only claimer until the transaction ends: two would take the same keys.

    The commit does not wait for the disk: a claim that is lost in a crash of the server is simply
    made again. Locks on our tables are waited for only briefly from here on: an application that
    truncates its source and loads it anew holds them for minutes, and other indexes have work, too.
    """
    connection.execute(
        "SELECT set_config('lock_timeout', '2s', true), pg_advisory_xact_lock(%s, %s), "
        f"set_config('synchronous_commit', 'off', true), {BRIEFLY}, {BY_INDEX}",
        [_ADVISORY_SPACE, index_id],
    )
