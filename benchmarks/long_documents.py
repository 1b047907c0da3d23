"""Long judged documents, put together from short ones.

Judged collections have short documents, so long ones are constructed: shuffled documents of a
collection, each under its title as a Markdown heading, are joined until they have 1,500 words, and
a long document is relevant where one of its parts is. Real long documents are of one piece: read
figures on these as a comparison of settings, not as quality.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.collections import Collection
from embedsql.evaluate import JudgedQuery, read_judged_queries

LONG_WORDS = 1500

Documents = Mapping[str, tuple[str, str]]  # id → title, text


@dataclass(frozen=True)
class Judged:
    """Documents and questions; ``long`` where the documents were put together."""

    name: str
    documents: Documents
    queries: Sequence[JudgedQuery]
    long: bool


def judged(collection: Collection, most: int | None) -> Judged:
    """A collection, or its judged documents filled up to ``most``."""
    queries = read_judged_queries(collection.queries, collection.qrels)
    relevant = {id_ for query in queries for id_ in query.relevant}
    documents = {id_: (title, text) for id_, title, text in collection.documents()}
    others = sorted(documents.keys() - relevant)
    random.Random(1).shuffle(others)
    room = len(others) if most is None else max(most - len(relevant), 0)
    wanted = relevant | set(others[:room])
    kept = {id_: one for id_, one in documents.items() if id_ in wanted}
    return Judged(collection.name, kept, queries, long=False)


def put_together(short: Judged) -> Judged:
    """Long documents of a collection's documents; see the module."""
    order = list(short.documents)
    random.Random(2).shuffle(order)
    home: dict[str, str] = {}
    parts: dict[str, list[str]] = {}
    words = LONG_WORDS
    for id_ in order:
        if words >= LONG_WORDS:
            long = f"long {len(parts)}"
            parts[long], words = [], 0
        title, text = short.documents[id_]
        home[id_] = long
        parts[long].append(f"## {title}\n\n{text}")
        words += len(text.split())
    queries = [_moved(query, home) for query in short.queries]
    documents = {long: ("", "\n\n".join(texts)) for long, texts in parts.items()}
    return Judged(f"{short.name}, put together", documents, queries, long=True)


def _moved(query: JudgedQuery, home: Mapping[str, str]) -> JudgedQuery:
    relevant: dict[str, int] = {}
    for id_, grade in query.relevant.items():
        if id_ in home:
            relevant[home[id_]] = max(grade, relevant.get(home[id_], 0))
    return JudgedQuery(query.query_id, query.text, relevant)
