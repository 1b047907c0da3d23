"""Recall@10 and latency of the dense lane at several settings, against exact search."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from embedsql.registered import RegisteredSearch
from embedsql.search import Hit, SearchTuning
from embedsql.search.dense import MOST_EF_SEARCH
from embedsql.spec import IndexSpec
from embedsql.tune.probes import ExactSearch, Probe
from embedsql.vectors import Metric

_EF_SEARCH = (40, 100, 200, 400, 800)
_PROBES = (1, 2, 5, 10, 20, 50, 100, 200)
_OVERSAMPLE = (1, 2, 4, 8, 16)
_ROUNDING = 1e-5  # of float32 distances, so that rows as far as the tenth count as it


@dataclass
class Measured:
    """One setting: mean recall@10, median latency in milliseconds, share answered exactly."""

    tuning: SearchTuning
    work: int
    recalls: list[float] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    exact: int = 0

    @property
    def recall(self) -> float:
        """Mean of its probes."""
        return float(np.mean(self.recalls)) if self.recalls else 0.0

    @property
    def p50(self) -> float:
        """Milliseconds, the building of the statement included."""
        return float(np.median(self.milliseconds)) if self.milliseconds else 0.0

    @property
    def exact_share(self) -> float:
        """Of the probes: those for which the approximate index came back short."""
        return self.exact / max(len(self.recalls), 1)


def settings_for(spec: IndexSpec, present: SearchTuning) -> list[Measured]:
    """The settings worth a look for an index, those with least work first.

    Args:
        spec: Its declaration.
        present: What its searches use now; everything but the dense lane's settings is kept.
    """
    oversamples = _OVERSAMPLE if spec.vectors.two_stage else _OVERSAMPLE[:2]
    tunings: list[SearchTuning] = [present]
    for oversample in oversamples:
        if spec.index == "hnsw":
            tunings += [
                _with(present, oversample=oversample, ef_search=ef_search)
                for ef_search in _EF_SEARCH
            ]
        elif spec.index == "ivfflat":
            tunings += [
                _with(present, oversample=oversample, ef_search=None, probes=probes)
                for probes in _PROBES
            ]
    if spec.index == "none":
        tunings = [present]
    measured = [Measured(tuning, _work(spec, tuning)) for tuning in dict.fromkeys(tunings)]
    return sorted(measured, key=lambda one: one.work)


def measure(
    search: RegisteredSearch,
    exact: ExactSearch,
    probes: Sequence[Probe],
    settings: Sequence[Measured],
    metric: Metric,
) -> None:
    """Ask every probe at every setting, in turn, so that a noisy moment hits them all.

    Args:
        search: The index.
        exact: The same index, exactly.
        probes: The questions.
        settings: The results go here.
        metric: Of the index.
    """
    if not probes:
        return
    for one in settings:  # compiled, planned and in memory before anything is timed
        search.search(None, vector=probes[0].vector, mode="dense", tuning=one.tuning)
    for place, probe in enumerate(probes):
        truth = exact.distances(probe)
        first = place % len(settings)
        for one in (*settings[first:], *settings[:first]):
            started = time.perf_counter()
            found = search.search(
                None, vector=probe.vector, mode="dense", limit=probe.limit, tuning=one.tuning
            )
            one.milliseconds.append((time.perf_counter() - started) * 1000)
            one.recalls.append(recall(found.hits, truth, probe, metric))
            one.exact += found.strategy == "exact"


def recall(
    hits: Sequence[tuple[Any, Hit]], truth: Sequence[float], probe: Probe, metric: Metric
) -> float:
    """Share of the nearest rows that were found; rows equally far are as good as one another.

    Args:
        hits: What was found.
        truth: Distances of the nearest rows, nearest first.
        probe: Its own row is not counted.
        metric: By which they are compared.
    """
    own = probe.key is not None
    due = len(truth) - own
    if due <= 0:
        return 1.0
    farthest = truth[-1] + _ROUNDING * (1 + abs(truth[-1]))
    within = [key for key, hit in hits if _distance(hit, metric) <= farthest]
    return min(len(within) - (own and probe.key in within), due) / due


def _distance(hit: Hit, metric: Metric) -> float:
    """The inverse of ``search.distance.similarity``."""
    near = hit.similarity if hit.similarity is not None else float("-inf")
    if metric == "cosine":
        return 1 - near
    return -near if metric == "inner_product" else 1 / max(near, 1e-12) - 1


def _with(present: SearchTuning, **changed: Any) -> SearchTuning:
    return replace(present, **changed)


def _work(spec: IndexSpec, tuning: SearchTuning) -> int:
    """What a search looks at, in rows of the index or lists; grows with its cost."""
    wanted = tuning.candidates * (tuning.oversample or spec.vectors.oversample)
    if spec.index == "ivfflat":
        return 10_000 * tuning.probes + wanted
    return max(wanted, tuning.ef_search or min(max(wanted, 40), MOST_EF_SEARCH))
