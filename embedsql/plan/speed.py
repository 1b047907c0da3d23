"""How fast a model embeds here, on a sample of the very chunks that wait for it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from embedsql.embedders import Embedder
from embedsql.embedders.sparse import terms_of
from embedsql.plan.sample import Sample, SampledChunk

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
    _embed(embedder, chosen[:2])  # not timed: loads what the model loads on first use
    tokens, started = 0, time.perf_counter()
    # every n-th of the sorted chunks in each call: when time is up, all lengths have been seen
    calls = -(-len(chosen) // CALL)
    for first in range(calls):
        group = chosen[first::calls]
        _embed(embedder, group)
        tokens += sum(one.tokens for one in group)
        if time.perf_counter() - started > MOST_SECONDS:
            break
    return max(tokens, 1) / max(time.perf_counter() - started, 1e-6)


def _embed(embedder: Embedder, sample: Sequence[SampledChunk]) -> None:
    """As a worker does: with the sparse encoder, where there is one."""
    texts = [one.chunk.content for one in sample]
    embedder.embed_documents(texts)
    sparse = terms_of(embedder)
    if sparse is not None:
        sparse.of_documents(texts)
