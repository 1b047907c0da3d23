"""A batch's keys as parameters of a statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from embedsql.changelog import Batch


def keys_at(batch: Batch, places: Sequence[int]) -> dict[str, list[Any]]:
    """The keys at ``places``, one array for each column of the key."""
    return {
        name: [values[place] for place in places] for name, values in batch.key_arrays().items()
    }
