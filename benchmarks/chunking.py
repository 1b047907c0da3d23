"""What chunk size, overlap and headings do to dense ranking, on short and on long documents.

Long documents are constructed (``benchmarks/long_documents.py``); their heading is the path of
Markdown headings, that of the others their title. Search is exact, in memory: a document scores as
its best chunk. Run as
``python -m benchmarks.chunking [collection …] [--documents N] [--tokens N …] [--overlap N …]``;
``--documents`` keeps the judged documents and fills up with others.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from benchmarks.collections import find_collections
from benchmarks.long_documents import Judged, judged, put_together
from benchmarks.report import write_report
from embedsql.choices import Chunking
from embedsql.chunking import Chunk, Chunker
from embedsql.embedders import Embedder, load_embedder
from embedsql.embedders.base import Vectors
from embedsql.evaluate import DEPTH, evaluate
from embedsql.spec import DEFAULT_MODEL

ROUND = 256  # texts that are embedded between two signs of life


class EmbeddedTexts:
    """Vectors of texts, each computed once, whatever settings made it."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, Any] = {}

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """Shape (n, dimensions)."""
        missing = sorted({text for text in texts if text not in self._known}, key=len)
        for start in range(0, len(missing), ROUND):
            print(f"\r  {start} of {len(missing)} texts", end="", file=sys.stderr)
            part = missing[start : start + ROUND]
            self._known.update(zip(part, self._embedder.embed_documents(part), strict=True))
        print("\r" + " " * 40, end="\r", file=sys.stderr)
        return np.array([self._known[text] for text in texts])


def main(arguments: Sequence[str]) -> None:
    """Every setting on every collection."""
    options = _options(arguments)
    embedder = load_embedder(options.model)
    collections = find_collections(*(options.collections or ("cranfield", "scifact")))
    if not collections:
        print("chunking: no judged collection here (EMBEDSQL_DATASETS names their folder)")
        return
    settings = list(product(options.tokens, options.overlap, options.heading))
    figures = {}
    for collection in collections:
        short = judged(collection, options.documents)
        for one in (short, put_together(short)):
            if options.only in (None, "long" if one.long else "short"):
                figures[one.name] = compare(one, settings, embedder)
    write_report("chunking", {"model": options.model, **figures})


def compare(
    one: Judged, settings: Sequence[tuple[int, int, str]], embedder: Embedder
) -> dict[str, Any]:
    """All settings on one collection."""
    texts = EmbeddedTexts(embedder)
    asked = {query.text: embedder.embed_queries([query.text])[0] for query in one.queries}
    words = [len(text.split()) for _, text in one.documents.values()]
    figures: dict[str, Any] = {
        "documents": len(words),
        "median words": int(np.median(words)),
        "queries": len(one.queries),
    }
    for tokens, overlap, heading in settings:
        chunking = Chunking(tokens, overlap, markdown=None if heading == "on" else False)
        chunker = Chunker(chunking, embedder.tokenizer, embedder.max_tokens)
        chunks, owners = cut(one, chunker, heading == "on")
        found = evaluate(
            one.queries,
            searcher(texts.vectors([chunk.content for chunk in chunks]), owners, asked),
        )
        name = f"{tokens} tokens, overlap {overlap}, heading {heading}"
        figures[name] = {
            "ndcg@10": round(found.ndcg_at_10, 4),
            "recall@100": round(found.recall_at_100, 4),
            "chunks / document": round(len(chunks) / len(one.documents), 2),
            "characters embedded / document": sum(len(chunk.content) for chunk in chunks)
            // len(one.documents),
        }
        print(f"{one.name}: {name}: {figures[name]}", file=sys.stderr)
    return figures


def cut(one: Judged, chunker: Chunker, heading: bool) -> tuple[list[Chunk], list[str]]:
    """The chunks of all documents, and the document of each."""
    chunks: list[Chunk] = []
    owners: list[str] = []
    for id_, (title, text) in one.documents.items():
        whole = f"{title}\n\n{text}".strip()
        if whole:
            found, _ = chunker.split(whole, title if heading and text else "")
            chunks += found
            owners += [id_] * len(found)
    return chunks, owners


def searcher(
    vectors: Vectors, owners: Sequence[str], asked: Mapping[str, Vectors]
) -> Callable[[str], list[tuple[str, float]]]:
    """Exact search; chunks of one document stand together."""
    first = [n for n, owner in enumerate(owners) if n == 0 or owner != owners[n - 1]]

    def search(text: str) -> list[tuple[str, float]]:
        best = np.maximum.reduceat(vectors @ asked[text], first)
        return [(owners[first[n]], float(best[n])) for n in np.argsort(-best)[:DEPTH]]

    return search


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks.chunking")
    parser.add_argument("collections", nargs="*")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--documents", type=int, help="default: all")
    parser.add_argument("--tokens", type=int, nargs="+", default=[128, 192, 256])
    parser.add_argument("--overlap", type=int, nargs="+", default=[0, 32, 64])
    parser.add_argument("--heading", nargs="+", choices=["on", "off"], default=["on", "off"])
    parser.add_argument("--only", choices=["short", "long"], help="default: both")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
