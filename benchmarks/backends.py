"""What runs the default model: texts a second by torch and OpenVINO, and how far they agree.

Sides run interleaved, on one thread and on as many as the back end chooses; then torch beside
busy processes, one for each core, which stand for a server under load; then the vectors are
compared, and judged where the Cranfield collection is at hand.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.collections import Collection, find_collections
from benchmarks.report import write_report
from benchmarks.stage import ROUNDS, interleaved, ratio
from embedsql.choices import Backend
from embedsql.embedders import Embedder, EmbedderOptions, load_embedder
from embedsql.embedders.backends import Agreement, multiplies_int8
from embedsql.embedders.base import Vectors
from embedsql.errors import MissingExtraError
from embedsql.evaluate import DEPTH, JudgedQuery, evaluate, read_judged_queries
from embedsql.spec import DEFAULT_MODEL
from examples.stdlib_docs import read_stdlib_docs

BATCHES = (8, 16, 32)
TEXTS = 48
NEIGHBOUR = """
import sys, time
rounds, end = 0, time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    sum(range(20_000))
    rounds += 1
print(rounds)
"""


def main() -> None:
    """Every part that can run here."""
    texts = sample()
    torch = load_embedder(DEFAULT_MODEL)
    figures: dict[str, Any] = {"processor multiplies int8": multiplies_int8()}
    one_thread, usual = {"torch": torch}, {"torch": torch}
    try:
        one_thread["openvino"] = load("openvino", 1)
        usual["openvino"] = load("openvino", None)
    except MissingExtraError as error:
        print(f"backends: {error}")
    figures["one thread"] = speeds(one_thread, texts, 1)
    figures["threads of its choice"] = speeds(usual, texts, cores())
    figures["beside busy processes"] = beside_neighbours(torch, texts)
    if "openvino" in usual:
        figures["agreement"] = agreement(torch, usual["openvino"], texts)
    for collection in find_collections("cranfield"):
        figures["cranfield"] = judge(collection, usual)
    write_report("backends", figures)


def load(backend: Backend, threads: int | None) -> Embedder:
    """The default model on a back end."""
    return load_embedder(DEFAULT_MODEL, EmbedderOptions(backend=backend, threads=threads))


def sample() -> list[str]:
    """Real texts of about 60 words, the same in every round."""
    docs = (" ".join(doc.doc.split()[:60]) for doc in read_stdlib_docs())
    whole = [text for text in docs if text.count(" ") == 59]
    return random.Random(1).sample(whole, TEXTS)


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_torch_threads(threads: int) -> None:
    """For the whole process."""
    import torch

    torch.set_num_threads(threads)


def speeds(
    embedders: dict[str, Embedder], texts: Sequence[str], torch_threads: int
) -> dict[str, Any]:
    """Seconds of CPU on one thread, else of the clock, for each back end and batch size."""
    set_torch_threads(torch_threads)
    clock = time.process_time if torch_threads == 1 else time.perf_counter
    sides = {f"{name}, {size}": (name, size) for name in embedders for size in BATCHES}

    def run(side: str) -> float:
        name, size = sides[side]
        return seconds(clock, lambda: encode(embedders[name], texts, size))

    found = interleaved(list(sides), run)
    figures: dict[str, Any] = {
        "texts per second, best": {
            side: round(len(texts) / min(times), 1) for side, times in found.items()
        }
    }
    if "openvino" in embedders:
        fastest = {
            name: min((found[side] for side in sides if sides[side][0] == name), key=min)
            for name in embedders
        }
        figures["torch / openvino, seconds"] = ratio(fastest["torch"], fastest["openvino"])
    return figures


def encode(embedder: Embedder, texts: Sequence[str], batch_size: int) -> Vectors:
    """Embed so many texts at once."""
    embedder._encode_options["batch_size"] = batch_size  # type: ignore[attr-defined]
    return embedder.embed_documents(texts)


def seconds(clock: Callable[[], float], run: Callable[[], object]) -> float:
    """How long it takes."""
    started = clock()
    run()
    return clock() - started


def beside_neighbours(torch: Embedder, texts: Sequence[str]) -> dict[str, Any]:
    """Texts of torch and work of the neighbours, by torch's threads."""
    choices = (1, cores())
    texts_done: dict[int, list[float]] = {threads: [] for threads in choices}
    work: dict[int, list[int]] = {threads: [] for threads in choices}
    for turn in range(ROUNDS):
        for threads in choices if turn % 2 else choices[::-1]:
            set_torch_threads(threads)
            done, neighbours = share(lambda: torch.embed_documents(texts[:4]), 3.0)
            texts_done[threads].append(done * 4)
            work[threads].append(neighbours)
    return {
        f"{threads} threads": {
            "texts, median": statistics.median(texts_done[threads]),
            "neighbours' rounds, median": statistics.median(work[threads]),
        }
        for threads in choices
    }


def share(run: Callable[[], object], duration: float) -> tuple[int, int]:
    """Runs, and the neighbours' rounds, in that many seconds."""
    command = [sys.executable, "-S", "-c", NEIGHBOUR, str(duration)]
    neighbours = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(cores())
    ]
    done, end = 0, time.monotonic() + duration
    while time.monotonic() < end:
        run()
        done += 1
    return done, sum(int(neighbour.communicate()[0]) for neighbour in neighbours)


def agreement(torch: Embedder, openvino: Embedder, texts: Sequence[str]) -> dict[str, Any]:
    """Cosine of the two back ends' vectors."""
    found = Agreement.of(torch.embed_documents(texts), openvino.embed_documents(texts))
    return {"mean": found.mean, "least": found.least, "texts": found.texts}


def judge(collection: Collection, embedders: dict[str, Embedder]) -> dict[str, Any]:
    """nDCG@10 of the model alone on each back end, and the vectors' agreement."""
    queries = read_judged_queries(collection.queries, collection.qrels)
    documents = list(collection.documents())
    ids = [id_ for id_, _, _ in documents]
    texts = [f"{title} {text}".strip() for _, title, text in documents]
    vectors = {name: one.embed_documents(texts) for name, one in embedders.items()}
    figures: dict[str, Any] = {
        f"{name}, ndcg@10": ndcg(one, vectors[name], ids, queries)
        for name, one in embedders.items()
    }
    if "openvino" in vectors:
        found = Agreement.of(vectors["torch"], vectors["openvino"])
        figures["agreement"] = {"mean": found.mean, "least": found.least, "texts": found.texts}
    return figures


def ndcg(
    embedder: Embedder, vectors: Vectors, ids: Sequence[str], queries: Sequence[JudgedQuery]
) -> float:
    """Exact search among all vectors."""

    def search(text: str) -> list[tuple[str, float]]:
        similarity = vectors @ embedder.embed_queries([text])[0]
        return [(ids[place], float(similarity[place])) for place in np.argsort(-similarity)[:DEPTH]]

    return round(evaluate(queries, search).ndcg_at_10, 4)


if __name__ == "__main__":
    main()
