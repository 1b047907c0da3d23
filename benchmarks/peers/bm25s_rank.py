"""bm25s as it comes: ranks the documents of a collection for each of its queries.

Its one argument is JSON: ``documents`` (pairs of id and text), ``queries`` (texts) and ``k``, in a
file. Prints, as JSON, ids and scores for each query, best first.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import bm25s


def main() -> None:
    """Index, retrieve, print."""
    asked = json.loads(Path(sys.argv[1]).read_text())
    ids, texts = zip(*asked["documents"], strict=True)
    retriever = bm25s.BM25()
    retriever.index(bm25s.tokenize(list(texts), show_progress=False), show_progress=False)
    tokens = bm25s.tokenize(asked["queries"], show_progress=False)
    k = min(asked["k"], len(ids))
    places, scores = retriever.retrieve(tokens, k=k, show_progress=False)
    found = [
        [(ids[place], float(score)) for place, score in zip(*one, strict=True)]
        for one in zip(places.tolist(), scores.tolist(), strict=True)
    ]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
