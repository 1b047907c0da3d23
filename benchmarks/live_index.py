"""Rows a second into a live HNSW index, by a worker that writes two batches at a time, or one.

The endpoint answers at once, so that writing is what takes the time: the index costs most of
a millisecond of one core for each vector, the words of a text as much again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from itertools import islice

import psycopg

from benchmarks.endpoint import DIMENSIONS, instant_endpoint
from benchmarks.report import write_report
from benchmarks.stage import interleaved, make_article, ratio, temporary_server, texts
from embedsql.database import connect
from embedsql.worker import Worker, WorkerOptions, writer

ROWS = 4096
CHARACTERS = 300
LANES = {"vectors": None, "vectors and words": "english"}
WRITERS = {"one": 1, "two": 2}


def main() -> None:
    """Both, in turns, with the lexical lane and without."""
    figures: dict[str, object] = {"rows": ROWS, "figures": "rows per second"}
    for name, lexical in LANES.items():
        found = one_and_two(lexical)
        figures[name] = {side: round(1 / min(each)) for side, each in found.items()}
        thousand = {side: [one * 1000 for one in each] for side, each in found.items()}
        figures[f"{name}: two / one"] = ratio(thousand["one"], thousand["two"])
    write_report("live_index", figures)


def one_and_two(lexical: str | None) -> dict[str, list[float]]:
    """Seconds a row, of one writer and of two in turns."""
    with temporary_server() as info, instant_endpoint() as endpoint, connect(info) as connection:
        make_article(
            connection,
            model="openai:instant",
            base_url=endpoint.base_url,
            dimensions=DIMENSIONS,
            chunking=None,
            index="hnsw",
            lexical=lexical,
        )
        worked_off(info, 1)  # builds the index, empty
        rows = enumerate(texts(ROWS * 20, CHARACTERS))
        run = partial(seconds_a_row, connection, info, rows)
        return interleaved(list(WRITERS), lambda side: run(WRITERS[side]))


def seconds_a_row(
    connection: psycopg.Connection, info: str, rows: Iterator[tuple[int, str]], writers: int
) -> float:
    """Of the next rows, from the start of a worker until all are searchable."""
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY article (id, body) FROM STDIN") as copy,
    ):
        for row in islice(rows, ROWS):
            copy.write_row(row)
    return worked_off(info, writers) / ROWS


def worked_off(info: str, writers: int) -> float:
    """Seconds of a draining worker."""
    usual, writer.WRITERS = writer.WRITERS, writers
    started = time.perf_counter()
    try:
        Worker(info, WorkerOptions(drain=True)).run()
    finally:
        writer.WRITERS = usual
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
