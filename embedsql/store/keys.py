"""A batch's keys as parameters of a statement."""

from __future__ import annotations

from collections.abc import Sequence

from embedsql.changelog import Batch
from embedsql.store.arrays import Array


def keys_of(batch: Batch) -> dict[str, Array]:
    """All keys, one array for each column of the key: ``{"key_1": …, "key_2": …}``."""
    return keys_at(batch, range(len(batch)))


def keys_at(batch: Batch, places: Sequence[int]) -> dict[str, Array]:
    """The keys at ``places``, likewise."""
    return {
        f"key_{number}": Array([texts[place] for place in places], "text")
        for number, texts in enumerate(batch.key_columns, 1)
    }
