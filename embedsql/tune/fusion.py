"""The lexical lane's weight, learnt from judged queries and judged on those it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from embedsql.embedders.base import Vectors
from embedsql.errors import MissingExtraError
from embedsql.evaluate import JudgedQuery
from embedsql.key import document_id
from embedsql.registered import RegisteredSearch
from embedsql.search import SearchTuning

WEIGHTS = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
FOLDS = 5
DEPTH = 10


@dataclass(frozen=True)
class LearntWeight:
    """What the weights gave.

    Attributes:
        queries: Judged ones.
        ndcg: nDCG@10 by weight, over all of them.
        present: nDCG@10 at the present setting.
        held_out: nDCG@10 of weights learnt on four fifths of the queries, on the fifth left out.
        weight: The best over all queries, where weights learnt so beat the present one on queries
            they have not seen; else ``None``: keep what there is.
    """

    queries: int
    ndcg: dict[float, float]
    present: float
    held_out: float
    weight: float | None


def with_weight(tuning: SearchTuning, weight: float) -> SearchTuning:
    """The same settings with another weight of the lexical lane."""
    return replace(tuning, lexical_weight=weight)


def learn_weight(
    search: RegisteredSearch,
    judged: Sequence[JudgedQuery],
    vectors: Vectors,
    tuning: SearchTuning,
) -> LearntWeight:
    """Search for every judged query at every weight.

    Args:
        search: The index; it has a lexical lane.
        judged: With at least one relevant document each.
        vectors: Of the queries, shape (n, dimensions).
        tuning: The other settings, and the present weight.

    Raises:
        MissingExtraError: ir-measures is not installed.
    """
    scores = np.array([_ndcg(search, judged, vectors, with_weight(tuning, one)) for one in WEIGHTS])
    present = _ndcg(search, judged, vectors, tuning)
    held_out = np.array(_held_out(scores))
    better = held_out.mean() > present.mean()
    means = scores.mean(axis=1)
    return LearntWeight(
        len(judged),
        {weight: float(mean) for weight, mean in zip(WEIGHTS, means, strict=True)},
        float(present.mean()),
        float(held_out.mean()),
        WEIGHTS[int(means.argmax())] if better else None,
    )


def _held_out(scores: npt.NDArray[np.float64]) -> list[float]:
    """For each query, its score at the weight that was best for the queries of other folds."""
    queries = scores.shape[1]
    folds = np.random.default_rng(1).permutation(queries) % min(FOLDS, max(queries, 1))
    found = []
    for query in range(queries):
        others = folds != folds[query]
        best = scores[:, others].mean(axis=1).argmax() if others.any() else scores.shape[0] // 2
        found.append(float(scores[best, query]))
    return found


def _ndcg(
    search: RegisteredSearch,
    judged: Sequence[JudgedQuery],
    vectors: Vectors,
    tuning: SearchTuning,
) -> npt.NDArray[np.float64]:
    """nDCG@10 of each query, in order."""
    try:
        import ir_measures
        from ir_measures import nDCG
    except ImportError as error:
        raise MissingExtraError("evaluate", "learning the fusion's weight") from error
    run = []
    for query, vector in zip(judged, vectors, strict=True):
        found = search.search(query.text, vector=vector, limit=DEPTH, tuning=tuning)
        run += [
            ir_measures.ScoredDoc(query.query_id, document_id(key), -float(rank))
            for rank, (key, _) in enumerate(found.hits)
        ]
    judgements = [
        ir_measures.Qrel(query.query_id, document, grade)
        for query in judged
        for document, grade in query.relevant.items()
    ]
    by_query = {
        one.query_id: one.value for one in ir_measures.iter_calc([nDCG @ DEPTH], judgements, run)
    }
    return np.array([by_query.get(query.query_id, 0.0) for query in judged])
