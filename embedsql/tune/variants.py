"""Recall that other forms of the same vectors would have, computed in NumPy; nothing is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import numpy.typing as npt

from embedsql.errors import DeclarationError
from embedsql.plan import ann_bytes
from embedsql.spec import IndexSpec
from embedsql.tune.probes import K, Probe
from embedsql.vectors import Quantization

Matrix = npt.NDArray[np.float32]
_OVERSAMPLE = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class VariantRecall:
    """A form that is not built.

    Attributes:
        quantization: The form.
        oversample: The least of 1, 2, 4, 8 and 16 that reaches the target; else 16.
        recall: At it: recall@10 by the codes alone, without what a graph misses.
        index_bytes: Of its approximate index.
        stored_bytes: Of each stored vector.
    """

    quantization: Quantization
    oversample: int
    recall: float
    index_bytes: int
    stored_bytes: int


def predict_variants(
    spec: IndexSpec, pool: Sequence[Probe], probes: Sequence[Probe], rows: int, target: float
) -> list[VariantRecall]:
    """What the other quantizations would find of the true ten nearest in a sample.

    Args:
        spec: The declaration; its own form is left out.
        pool: The sample of stored vectors that is searched.
        probes: The questions.
        rows: Vectors there are; candidates are scaled to the sample's share of them.
        target: Recall to reach.
    """
    if len(pool) <= K or not probes or spec.vectors.has_codes:
        return []
    vectors, asked = _matrix(spec, pool), _matrix(spec, probes)
    hidden = _own(pool, probes)
    scores = _scores(spec, vectors, asked, hidden)
    truth = _top(scores, K)
    found = []
    for quantization in get_args(Quantization):
        try:
            form = replace(spec, quantization=quantization, stored=None)
        except DeclarationError:
            continue
        if form.vectors == spec.vectors:
            continue
        for oversample in _OVERSAMPLE:
            wanted = max(K, round(100 * oversample * len(pool) / max(rows, len(pool))))
            recall = _recall(form, vectors, asked, hidden, scores, truth, wanted)
            if recall >= target or not form.vectors.two_stage:
                break
        size = ann_bytes(form, rows)
        stored = form.vectors.stored_bytes(form.dimensions)
        found.append(VariantRecall(quantization, oversample, recall, size, stored))
    return found


def _recall(
    form: IndexSpec,
    vectors: Matrix,
    asked: Matrix,
    hidden: npt.NDArray[np.bool_],
    scores: Matrix,
    truth: npt.NDArray[np.intp],
    wanted: int,
) -> float:
    """Candidates by the indexed codes, ordered anew by the stored ones."""
    stored = scores
    if form.vectors.has_codes:
        stored = _scores(form, _int8(vectors), asked, hidden)
    elif form.vectors.stored_as == "halfvec":
        half = vectors.astype(np.float16).astype(np.float32)
        stored = _scores(form, half, asked, hidden)
    best = stored
    if form.vectors.two_stage:
        seen = form.index_dimensions or form.dimensions
        rough = _rough(form, vectors[:, :seen], asked[:, :seen], hidden)
        best = np.full_like(stored, -np.inf)
        candidates = _top(rough, wanted)
        np.put_along_axis(best, candidates, np.take_along_axis(stored, candidates, axis=1), axis=1)
    found = _top(best, K)
    agreed = [len(np.intersect1d(one, other)) for one, other in zip(found, truth, strict=True)]
    return float(np.mean(agreed) / truth.shape[1])


def _rough(
    form: IndexSpec, vectors: Matrix, asked: Matrix, hidden: npt.NDArray[np.bool_]
) -> Matrix:
    if form.vectors.indexed_as != "bit":
        return _scores(form, vectors, asked, hidden)
    # equal bits minus unequal ones: the more, the smaller the Hamming distance
    signs, asked_signs = (np.where(one > 0, 1, -1).astype(np.float32) for one in (vectors, asked))
    agreeing: Matrix = np.where(hidden, -np.inf, asked_signs @ signs.T)
    return agreeing


def _scores(
    form: IndexSpec, vectors: Matrix, asked: Matrix, hidden: npt.NDArray[np.bool_]
) -> Matrix:
    """Larger is nearer; shape (questions, vectors)."""
    if form.metric == "cosine":
        vectors, asked = _unit(vectors), _unit(asked)
    scores = asked @ vectors.T
    if form.metric == "l2":
        scores = 2 * scores - (vectors**2).sum(axis=1)
    shown: Matrix = np.where(hidden, -np.inf, scores)
    return shown


def _int8(vectors: Matrix) -> Matrix:
    unit = np.abs(vectors).max(axis=1, keepdims=True) / 127
    decoded: Matrix = np.rint(vectors / np.where(unit == 0, 1, unit)) * unit
    return decoded.astype(np.float32)


def _unit(vectors: Matrix) -> Matrix:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(length == 0, 1, length)).astype(np.float32)


def _top(scores: Matrix, count: int) -> npt.NDArray[np.intp]:
    count = min(count, scores.shape[1])
    return np.argpartition(-scores, count - 1, axis=1)[:, :count]


def _matrix(spec: IndexSpec, probes: Sequence[Probe]) -> Matrix:
    return np.stack([probe.vector for probe in probes]).reshape(len(probes), spec.dimensions)


def _own(pool: Sequence[Probe], probes: Sequence[Probe]) -> npt.NDArray[np.bool_]:
    """Which vectors are of a question's own row."""
    keys = [str(one.key) for one in pool]
    return np.array(
        [[probe.key is not None and key == str(probe.key) for key in keys] for probe in probes]
    )
