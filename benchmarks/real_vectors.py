"""Real texts with real vectors: package descriptions by the default model, made once and kept."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import platformdirs
import psycopg
from pgvector.psycopg import register_vector

from benchmarks.collections import find_collections
from embedsql.embedders import load_embedder
from embedsql.spec import DEFAULT_MODEL
from embedsql.store.arrays import VectorArray

COLLECTION = "debpkg"
CHARACTERS = 200
SLICE = 2000


@dataclass(frozen=True)
class RealVectors:
    """A collection, embedded.

    Attributes:
        names: Of the documents.
        texts: Their texts.
        vectors: Theirs, shape (n, 384).
        queries: The judged queries' texts, by name.
        query_vectors: Theirs, in that order.
        relevant: By query, the relevance of documents by name.
    """

    names: list[str]
    texts: list[str]
    vectors: npt.NDArray[np.float32]
    queries: dict[str, str]
    query_vectors: npt.NDArray[np.float32]
    relevant: dict[str, dict[str, int]]


def real_vectors(rows: int) -> RealVectors | None:
    """The beginnings of ``rows`` documents, all that are judged among them.

    ``None`` where the collection is not here (EMBEDSQL_DATASETS names the collections' folder).
    """
    found = find_collections(COLLECTION)
    if not found:
        return None
    relevant: dict[str, dict[str, int]] = {}
    for line in found[0].qrels.read_text().splitlines():
        query, document, grade = line.split("\t")
        if grade.isdigit() and int(grade):
            relevant.setdefault(query, {})[document] = int(grade)
    judged = {document for grades in relevant.values() for document in grades}
    documents = sorted(found[0].documents(), key=lambda one: one[0] not in judged)[:rows]
    names = [name for name, _, _ in documents]
    texts = [f"{title}: {text}"[:CHARACTERS] for _, title, text in documents]
    lines = found[0].queries.read_text().splitlines()
    queries = {str(one["id"]): one["text"] for one in map(json.loads, lines)}
    return RealVectors(
        names,
        texts,
        _kept(f"{COLLECTION}-{rows}", texts, queries=False),
        queries,
        _kept(f"{COLLECTION}-queries", list(queries.values()), queries=True),
        relevant,
    )


def load_sample(connection: psycopg.Connection, real: RealVectors) -> None:
    """The texts and vectors as a table ``sample (id, body, embedding)``; ids from 1."""
    register_vector(connection)
    connection.execute("CREATE TABLE sample (id bigint, body text, embedding vector(384))")
    for start in range(0, len(real.texts), SLICE):
        end = start + SLICE
        texts = real.texts[start:end]
        connection.execute(
            "INSERT INTO sample SELECT * FROM unnest(%s::bigint[], %s::text[], %b::vector[])",
            [
                list(range(start + 1, start + 1 + len(texts))),
                texts,
                VectorArray(list(real.vectors[start:end]), "vector"),
            ],
        )
    connection.execute("CREATE INDEX ON sample (id)")
    connection.execute("ANALYZE sample")


def _kept(name: str, texts: list[str], *, queries: bool) -> npt.NDArray[np.float32]:
    folder = platformdirs.user_cache_path("embedsql") / "benchmarks"
    file = folder / f"{name}.npy"
    if file.exists():
        kept: npt.NDArray[np.float32] = np.load(file)
        return kept
    embedder = load_embedder(DEFAULT_MODEL)
    embed = embedder.embed_queries if queries else embedder.embed_documents
    order = np.argsort([len(text) for text in texts], kind="stable")  # little is padded
    vectors = np.zeros((len(texts), embedder.space.dimensions), np.float32)
    for start in range(0, len(texts), SLICE):
        places = order[start : start + SLICE]
        vectors[places] = embed([texts[place] for place in places])
        print(f"{name}: {min(start + SLICE, len(texts))} of {len(texts)} embedded")
    folder.mkdir(parents=True, exist_ok=True)
    np.save(file, vectors)
    return vectors
