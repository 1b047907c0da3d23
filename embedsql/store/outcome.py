"""What a batch became: what is to be written of it, and what a write did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy.typing as npt

from embedsql.chunking import Chunk


class Encoded(NamedTuple):
    """What models made of a text.

    Attributes:
        vector: Shape (dimensions,); ``None``: the model refused it.
        terms: Of a sparse encoder, as pgvector reads them; ``None``: words are weighed by BM25.
    """

    vector: npt.NDArray[Any] | None
    terms: str | None = None


class Row(NamedTuple):
    """What one claimed row becomes.

    Attributes:
        place: Position of its key in the batch.
        seen: The xmin of the source row that was read.
        input_hash: Of its text.
        chunks: What the text is cut into; none where it is blank, ``None`` where the stored ones
            stand.
        hashes: The digest of each chunk, by which its vector is found.
        chunk_count: How many chunks the row has.
        truncated: Whether some of its text is left out.
    """

    place: int
    seen: bytes | None
    input_hash: bytes | None
    chunks: Sequence[Chunk] | None
    hashes: Sequence[bytes]
    chunk_count: int
    truncated: bool


@dataclass(frozen=True)
class Failure:
    """Why one claimed row could not be embedded. Holds no text of the row.

    Attributes:
        place: Position of its key in the batch.
        permanent: Whether another attempt is no use.
        error_class: The error's name.
        error: What it said.
        counts: Whether it counts as one of the row's attempts.
    """

    place: int
    permanent: bool
    error_class: str
    error: str
    counts: bool = True


@dataclass(frozen=True)
class Outcome:
    """What a write did, in numbers of keys."""

    saved: int
    gone: int
    changed_meanwhile: int
    failed: int
