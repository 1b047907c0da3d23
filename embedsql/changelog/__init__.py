"""What waits for the model, and the batches that workers claim of it.

The change log holds keys that may have changed; a backfill finds rows that it does not speak of.
"""

from __future__ import annotations

from embedsql.changelog.backfill import Backfill
from embedsql.changelog.batch import BRIEFLY, BY_KEY, LEASE_SECONDS, LONGEST_LEASE_SECONDS, Batch
from embedsql.changelog.burial import MOST_CRASHES
from embedsql.changelog.log import ChangeLog

__all__ = [
    "BRIEFLY",
    "BY_KEY",
    "LEASE_SECONDS",
    "LONGEST_LEASE_SECONDS",
    "MOST_CRASHES",
    "Backfill",
    "Batch",
    "ChangeLog",
]
