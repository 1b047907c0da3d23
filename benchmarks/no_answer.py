"""Does a search know that it has no good answer? Each collection is asked the others' questions.

Of its own questions, nearly all should have a hit of support 1 or more; of the others', few.
The peer is the threshold on the cosine similarity that would have been best for all of them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import psycopg

from benchmarks.collections import Collection, find_collections
from benchmarks.report import write_report
from benchmarks.stage import temporary_server
from embedsql.catalog import describe_source
from embedsql.database import connect
from embedsql.declare import create_index
from embedsql.evaluate import read_judged_queries
from embedsql.registered import RegisteredSearch
from embedsql.spec import IndexSpec
from embedsql.worker import Worker, WorkerOptions

MOST_QUESTIONS = 100  # of each collection


def main(names: Sequence[str]) -> None:
    """Ask the named collections (default: the four of questions in English)."""
    collections = find_collections(*(names or ("cranfield", "stackfaq", "cosqa", "scifact")))
    if len(collections) < 2:
        print("no_answer: fewer than two collections here (EMBEDSQL_DATASETS names their folder)")
        return
    with temporary_server() as info, connect(info) as connection:
        for one in collections:
            _index(connection, one)
        Worker(info, WorkerOptions(drain=True)).run()
        best = {one.name: _best_hits(info, one, collections) for one in collections}
    write_report("no_answer", _figures(best))


def _index(connection: psycopg.Connection, collection: Collection) -> None:
    collection.load(connection)
    source = describe_source(connection, collection.name)
    spec = IndexSpec(
        name=f"{collection.name}_search",
        table=source.name,
        schema=source.schema,
        key=source.key,
        text=("title", "body"),
        dimensions=384,
    )
    create_index(connection, spec, source)


def _best_hits(
    info: str, collection: Collection, collections: Sequence[Collection]
) -> list[tuple[bool, float, float]]:
    """For each question: whether it is the collection's own, the best support and similarity."""
    found = []
    with RegisteredSearch(info, f"{collection.name}_search") as search:
        for asker in collections:
            for query in read_judged_queries(asker.queries, asker.qrels)[:MOST_QUESTIONS]:
                hits = [hit for _, hit in search.search(query.text).hits]
                support = max((hit.support or 0.0 for hit in hits), default=0.0)
                similarity = max((hit.similarity or 0.0 for hit in hits), default=0.0)
                found.append((asker is collection, support, similarity))
    return found


def _figures(best: dict[str, list[tuple[bool, float, float]]]) -> dict[str, Any]:
    pooled = [line for lines in best.values() for line in lines]
    thresholds = sorted({similarity for _, _, similarity in pooled})
    right = {one: _balanced([(own, s >= one) for own, _, s in pooled]) for one in thresholds}
    hindsight = max(right, key=right.__getitem__)
    figures: dict[str, Any] = {
        name: {
            "own answered": _share(lines, own=True),
            "others refused": 1 - _share(lines, own=False),
        }
        for name, lines in best.items()
    }
    figures["all"] = {
        "right, support of 1": _balanced([(own, support >= 1) for own, support, _ in pooled]),
        "right, similarity in hindsight": right[hindsight],
        "similarity in hindsight": hindsight,
    }
    return figures


def _share(lines: Sequence[tuple[bool, float, float]], *, own: bool) -> float:
    return float(np.mean([support >= 1 for is_own, support, _ in lines if is_own == own]))


def _balanced(lines: Sequence[tuple[bool, bool]]) -> float:
    """Mean of the share of own questions answered and that of others refused."""
    own = float(np.mean([answered for is_own, answered in lines if is_own]))
    others = float(np.mean([not answered for is_own, answered in lines if not is_own]))
    return (own + others) / 2


if __name__ == "__main__":
    main(sys.argv[1:])
