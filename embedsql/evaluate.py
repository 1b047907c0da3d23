"""Ranking quality on judged queries: nDCG@10, Recall@100, MRR@10, and latency."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embedsql.errors import InputFileError, MissingExtraError
from embedsql.key import document_id
from embedsql.registered import RegisteredSearch
from embedsql.search import Mode

DEPTH = 100

SearchKeys = Callable[[str], Sequence[tuple[str, float]]]


@dataclass(frozen=True)
class JudgedQuery:
    """A query with its relevant documents (id → grade)."""

    query_id: str
    text: str
    relevant: dict[str, int]


@dataclass(frozen=True)
class Evaluation:
    """Means over the judged queries; times in milliseconds, query embedding included."""

    queries: int
    ndcg_at_10: float
    recall_at_100: float
    mrr_at_10: float
    p50: float
    p95: float

    def to_json(self) -> dict[str, Any]:
        """The shape of ``embedsql eval --json``, less the index's name and the mode."""
        return {
            "queries": self.queries,
            "ndcg@10": self.ndcg_at_10,
            "recall@100": self.recall_at_100,
            "mrr@10": self.mrr_at_10,
            "latency_ms": {"p50": self.p50, "p95": self.p95},
        }


def evaluate(queries: Sequence[JudgedQuery], search: SearchKeys) -> Evaluation:
    """Run every query and judge the answers with ir-measures.

    Args:
        queries: With at least one relevant document each.
        search: A query's text to (document id, score) pairs, best first, 100 of them.

    Raises:
        MissingExtraError: ir-measures is not installed.
    """
    try:
        import ir_measures
        from ir_measures import RR, R, nDCG
    except ImportError as error:
        raise MissingExtraError("evaluate", "evaluating") from error
    milliseconds, run = [], []
    for query in queries:
        started = time.perf_counter()
        answers = search(query.text)
        milliseconds.append((time.perf_counter() - started) * 1000)
        # by rank, not by score: equal scores would be judged in another order than they were given
        run += [
            ir_measures.ScoredDoc(query.query_id, document, -float(rank))
            for rank, (document, _) in enumerate(answers[:DEPTH])
        ]
    judgements = [
        ir_measures.Qrel(query.query_id, document, grade)
        for query in queries
        for document, grade in query.relevant.items()
    ]
    measures = [nDCG @ 10, R @ DEPTH, RR @ 10]
    found = ir_measures.calc_aggregate(measures, judgements, run)
    p50, p95 = np.percentile(milliseconds, [50, 95])
    ndcg, recall, mrr = (float(found[measure]) for measure in measures)
    return Evaluation(len(queries), ndcg, recall, mrr, float(p50), float(p95))


def judge_search(
    search: RegisteredSearch, queries: Sequence[JudgedQuery], mode: Mode
) -> Evaluation:
    """Judge an index by the rows that it gives.

    Args:
        search: The index; its model is loaded before anything is timed.
        queries: With at least one relevant row each.
        mode: Named, so that an outage of the model's provider is an error: without a name the
            search would fall back to words alone, and that would be judged instead.

    Raises:
        MissingExtraError: ir-measures is not installed.
        EmbeddingError: A query cannot be embedded, and the mode needs that.
    """

    def ranking(text: str) -> Sequence[tuple[str, float]]:
        hits = search.search(text, mode=mode, limit=DEPTH).hits
        return [(document_id(key), hit.score) for key, hit in hits]

    search.warm_up(mode)
    return evaluate(queries, ranking)


def read_judged_queries(queries: Path, judgements: Path) -> list[JudgedQuery]:
    """Queries that have at least one relevant document, in file order.

    Args:
        queries: JSON lines ``{"id": …, "text": …}``.
        judgements: Lines ``query_id <tab> doc_id <tab> relevance``, with or without that header.

    Raises:
        InputFileError: With the file and the line that cannot be read.
    """
    relevant = _read_judgements(judgements)
    found = []
    for place, line in _lines(queries):
        try:
            entry = json.loads(line)
            query_id, text = str(entry["id"]), entry["text"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputFileError(
                f'{queries}, line {place}: expected {{"id": …, "text": …}} ({error})'
            ) from error
        if not isinstance(text, str) or not text.strip():
            raise InputFileError(f"{queries}, line {place}: the text of query {query_id} is empty")
        if query_id in relevant:
            found.append(JudgedQuery(query_id, text, relevant[query_id]))
    if not found:
        raise InputFileError(f"no query of {queries} has a judgement in {judgements}")
    return found


def _read_judgements(path: Path) -> dict[str, dict[str, int]]:
    relevant: dict[str, dict[str, int]] = {}
    for place, line in _lines(path):
        fields = line.split("\t")
        if place == 1 and fields[-1].strip().lower() == "relevance":
            continue
        try:
            query_id, document, relevance = fields
            grade = int(relevance)
        except ValueError as error:
            raise InputFileError(
                f"{path}, line {place}: expected query_id <tab> doc_id <tab> relevance"
            ) from error
        if grade > 0:
            relevant.setdefault(query_id, {})[document] = grade
    return relevant


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputFileError(f"{path} cannot be read: {error}") from error
    # not splitlines(): a text may hold other line separators, such as U+2028
    numbered = enumerate(text.split("\n"), 1)
    return [(place, line.rstrip("\r")) for place, line in numbered if line.strip()]
