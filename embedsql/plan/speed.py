"""How fast a model embeds here, on a sample of the very chunks that wait for it."""

from __future__ import annotations

import time

from embedsql.embedders import Embedder
from embedsql.plan.sample import Sample

MOST_CHUNKS = 128
MOST_SECONDS = 20.0
CALL = 16


def tokens_per_second(embedder: Embedder, sample: Sample) -> float | None:
    """Tokens a second on this machine; ``None`` where nothing can be said without paying for it.

    Args:
        embedder: The model.
        sample: Its chunks are embedded, at most 128 of them or for 20 seconds.
    """
    if embedder.provider != "local" or not sample.chunks:
        return None
    step = max(1, len(sample.chunks) // MOST_CHUNKS)
    chosen = sorted(sample.chunks[::step][:MOST_CHUNKS], key=lambda one: len(one.chunk.content))
    embedder.embed_documents([one.chunk.content for one in chosen[:2]])  # loads what is lazy
    tokens, started = 0, time.perf_counter()
    # every so-many-th, so that a call that comes too late for the time left leaves a fair sample
    calls = -(-len(chosen) // CALL)
    for first in range(calls):
        group = chosen[first::calls]
        embedder.embed_documents([one.chunk.content for one in group])
        tokens += sum(one.tokens for one in group)
        if time.perf_counter() - started > MOST_SECONDS:
            break
    return max(tokens, 1) / max(time.perf_counter() - started, 1e-6)
