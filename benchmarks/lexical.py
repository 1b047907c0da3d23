"""Ranking quality of the lexical lane against bm25s, both with their default settings.

Every judged collection that is at hand. Vectors play no part, so those of hashed words are taken.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.collections import Collection, find_collections
from benchmarks.peers import BM25S, PeerAbsentError
from benchmarks.report import write_report
from benchmarks.stage import temporary_server
from embedsql.database import connect
from embedsql.evaluate import DEPTH, JudgedQuery, evaluate, read_judged_queries
from embedsql.registered import RegisteredSearch
from embedsql.worker import Worker, WorkerOptions

COLLECTIONS = ("cranfield", "scifact", "stackfaq", "cosqa", "debpkg")
FLOOR = 0.98

Hits = list[tuple[str, float]]


def main(names: Sequence[str]) -> None:
    """Judge the named collections (default: all five)."""
    collections = find_collections(*(names or COLLECTIONS))
    if not collections:
        print("lexical: no judged collection here (EMBEDSQL_DATASETS names their folder)")
        return
    with temporary_server() as info:
        figures = {one.name: compare(info, one) for one in collections}
    write_report("lexical", {"floor": FLOOR, **figures})


def compare(info: str, collection: Collection) -> dict[str, Any]:
    """nDCG@10 of both."""
    queries = read_judged_queries(collection.queries, collection.qrels)
    ours = evaluate(queries, _searcher(info, collection)).ndcg_at_10
    figures: dict[str, Any] = {"queries": len(queries), "lexical lane": round(ours, 4)}
    try:
        ranked = dict(zip((one.text for one in queries), _bm25s(collection, queries), strict=True))
    except PeerAbsentError as error:
        return figures | {BM25S.name: str(error)}
    theirs = evaluate(queries, lambda text: ranked[text]).ndcg_at_10
    return figures | {BM25S.name: round(theirs, 4), "ratio": round(ours / theirs, 3)}


def _searcher(info: str, collection: Collection) -> Any:
    name = f"{collection.name}_search"
    with connect(info) as connection:
        collection.load(connection)
        collection.index(connection, name, model="hash:64", dimensions=64, index="none")
        Worker(info, WorkerOptions(drain=True, batch_size=2000)).run()
        connection.execute("VACUUM ANALYZE")
    searcher = RegisteredSearch(info, name)

    def search(text: str) -> Hits:
        found = searcher.search(text, mode="lexical", limit=DEPTH)
        return [(key, hit.score) for key, hit in found.hits]

    return search


def _bm25s(collection: Collection, queries: Sequence[JudgedQuery]) -> Iterator[Hits]:
    documents = [(id_, f"{title} {text}") for id_, title, text in collection.documents()]
    asked = {"documents": documents, "queries": [one.text for one in queries], "k": DEPTH}
    with tempfile.TemporaryDirectory(prefix="embedsql-bench-") as folder:
        settings = Path(folder) / "asked.json"
        settings.write_text(json.dumps(asked))
        script = Path(__file__).parent / "peers" / "bm25s_rank.py"
        found = json.loads(BM25S.run("python", [str(script), str(settings)]))
    return ([(id_, score) for id_, score in hits] for hits in found)


if __name__ == "__main__":
    main(sys.argv[1:])
