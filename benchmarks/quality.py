"""Ranking quality: dense search against the model alone, on judged collections.

The peer is the model's own ``encode()`` of each whole document (cut where the model stops
reading) and an exact dot product in NumPy, judged by the same code in the same run.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.collections import Collection, find_collections
from benchmarks.report import write_report
from embedsql.choices import Chunking
from embedsql.database import connect, conninfo
from embedsql.embedded import EmbeddedServer
from embedsql.embedders import load_embedder
from embedsql.evaluate import DEPTH, Evaluation, JudgedQuery, evaluate, read_judged_queries
from embedsql.installation import install
from embedsql.registered import RegisteredSearch
from embedsql.search import Mode
from embedsql.spec import DEFAULT_MODEL
from embedsql.worker import Worker, WorkerOptions

MODES: tuple[Mode, ...] = ("dense", "lexical", "hybrid")


def main(names: Sequence[str]) -> None:
    """Judge the named collections (default: cranfield and scifact)."""
    collections = find_collections(*(names or ("cranfield", "scifact")))
    if not collections:
        print("quality: no judged collection here (EMBEDSQL_DATASETS names their folder)")
        return
    with tempfile.TemporaryDirectory(prefix="embedsql-bench-") as folder:
        Path(folder).chmod(0o755)  # run as root, the server's own account must reach it
        server = EmbeddedServer(Path(folder) / "home")
        info = conninfo(server.start())
        try:
            figures = {one.name: judge_collection(info, one) for one in collections}
        finally:
            server.stop()
    write_report("quality", figures)


def judge_collection(info: str, collection: Collection) -> dict[str, Any]:
    """Every mode with and without chunking, and the model alone."""
    queries = read_judged_queries(collection.queries, collection.qrels)
    with connect(info) as connection:
        install(connection)
        collection.load(connection)
        for name, chunking in (("whole", None), ("chunked", Chunking())):
            collection.index(connection, f"{collection.name}_{name}", chunking=chunking)
    Worker(info, WorkerOptions(drain=True)).run()
    alone = model_alone(collection, queries)
    figures: dict[str, Any] = {"model alone": alone.to_json()}
    for name in ("whole", "chunked"):
        for mode in MODES:
            found = judge_index(info, f"{collection.name}_{name}", mode, queries)
            ratio = found.ndcg_at_10 / alone.ndcg_at_10
            figures[f"{name}, {mode}"] = {**found.to_json(), "ndcg@10 / model alone": ratio}
    return figures


def judge_index(info: str, index: str, mode: Mode, queries: Sequence[JudgedQuery]) -> Evaluation:
    """One index in one mode."""
    with RegisteredSearch(info, index) as searcher:
        searcher.warm_up(mode)
        return evaluate(
            queries,
            lambda text: [
                (key, hit.score) for key, hit in searcher.search(text, mode=mode, limit=DEPTH).hits
            ],
        )


def model_alone(collection: Collection, queries: Sequence[JudgedQuery]) -> Evaluation:
    """The peer: encode everything, compare with everything."""
    embedder = load_embedder(DEFAULT_MODEL)
    ids, texts = [], []
    for id_, title, text in collection.documents():
        ids.append(id_)
        texts.append(f"{title} {text}".strip())
    vectors = embedder.embed_documents(texts)

    def search(text: str) -> list[tuple[str, float]]:
        similarity = vectors @ embedder.embed_queries([text])[0]
        return [(ids[n], float(similarity[n])) for n in np.argsort(-similarity)[:DEPTH]]

    return evaluate(queries, search)


if __name__ == "__main__":
    main(sys.argv[1:])
