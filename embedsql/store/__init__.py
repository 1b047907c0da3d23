"""Source texts in, chunks and vectors out: the two ends of a batch.

Reading happens after the claim has committed, in a new snapshot, so that a text is at least as
new as the change that was claimed. Writing takes only what still agrees with the source.
"""

from __future__ import annotations

from embedsql.store.outcome import Encoded, Failure, Outcome, Row
from embedsql.store.read import SourceText, Texts
from embedsql.store.write import Vectors

__all__ = [
    "Encoded",
    "Failure",
    "Outcome",
    "Row",
    "SourceText",
    "Texts",
    "Vectors",
]
