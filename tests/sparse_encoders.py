"""Sparse encoders: a small one that is made here, and a real one where its package is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from embedsql.embedders.loading import weights_of

SPLADE = "sentence-transformers/splade-tiny"
needs_splade = pytest.mark.skipif(
    importlib.util.find_spec("cognition") is None, reason="pip install 'embedsql[splade]'"
)


def make_sparse_encoder(folder: Path, seed: int = 1) -> str:
    """A model that weighs each word piece by itself, and its name.

    Weights are random from 1 to 2, by ``seed``; word pieces are those of all-MiniLM-L6-v2.
    """
    import torch
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(weights_of("sentence-transformers/all-MiniLM-L6-v2"))
    chance = torch.Generator().manual_seed(seed)
    weight = 1 + torch.rand(tokenizer.vocab_size, generator=chance)
    static = SparseStaticEmbedding(tokenizer, weight=weight, frozen=True)  # type: ignore[arg-type]
    SparseEncoder(modules=[static], device="cpu").save_pretrained(str(folder / f"sparse{seed}"))
    return f"sentence-transformers/{folder}/sparse{seed}"
