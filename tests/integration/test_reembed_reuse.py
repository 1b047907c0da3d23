"""A generation of the same model takes the vectors of the one that serves: none is paid twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import psycopg
import pytest
from pgvector.psycopg import register_vector

from embedsql.changelog import ChangeLog
from embedsql.choices import Chunking
from embedsql.database import connect
from embedsql.ingest import Ingest
from embedsql.reembed import ModelChange
from embedsql.registered import RegisteredSearch
from embedsql.registry import RegisteredIndex, find_generations
from embedsql.requeue import requeue_rows
from embedsql.worker import WorkerOptions
from tests.everyday import cases
from tests.factories import RecordingEmbedder, add_index, create_article_table, drain, verify_all

NAME = "article_search"
ROWS = 40


@pytest.fixture
def index(connection: psycopg.Connection, database: str) -> RegisteredIndex:
    """Forty rows of one chunk each, embedded."""
    create_article_table(connection)
    made = add_index(connection, text=("body",), chunking=Chunking(tokens=8, overlap=0))
    connection.execute(
        "INSERT INTO article (body) SELECT 'word' || n || ' of row ' || n "
        "FROM generate_series(1, %s) AS n",
        [ROWS],
    )
    drain(database)
    return made


@pytest.fixture
def both(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> list[RegisteredIndex]:
    """The generation before, and the one of another index type that serves."""
    with changing(database) as change:
        change.begin(replace(index.spec, quantization="halfvec", stored="vector"))
        whole(change)
    return list(find_generations(connection, NAME))


def changing(database: str) -> ModelChange:
    return ModelChange(database, NAME, WorkerOptions(poll_interval=0.05))


def whole(change: ModelChange) -> None:
    change.fill()
    change.accept()
    change.switch()


REUSES: list[tuple[dict[str, Any], dict[str, Any], int]] = [
    ({}, {"quantization": "halfvec"}, ROWS),
    ({}, {"lexical_index": "hnsw"}, ROWS),
    ({}, {"chunking": None}, ROWS),
    ({}, {"quantization": "int8"}, ROWS),
    ({"quantization": "halfvec"}, {"quantization": "bit", "stored": "halfvec"}, ROWS),
    ({"quantization": "halfvec"}, {"quantization": "none"}, 0),
    ({"quantization": "int8"}, {"quantization": "none"}, 0),
    ({}, {"document_prompt": "passage: "}, 0),
    ({}, {"model": "hash:96", "dimensions": 96}, 0),
]


@pytest.mark.parametrize("reuse", cases(REUSES, *REUSES[::3]))
def test_vectors_of_the_same_space_that_are_as_exact_serve_again(
    connection: psycopg.Connection,
    database: str,
    reuse: tuple[dict[str, Any], dict[str, Any], int],
) -> None:
    was, becomes, reused = reuse
    create_article_table(connection)
    index = add_index(connection, text=("body",), **was)
    connection.execute(
        "INSERT INTO article (body) SELECT 'word' || n FROM generate_series(1, %s) AS n", [ROWS]
    )
    drain(database)
    with changing(database) as change:
        change.begin(replace(index.spec, **becomes))
        report = drain(database)
        whole(change)

    assert (report.reused, report.embedded) == (reused, ROWS - reused)
    assert verify_all(database).ok
    with RegisteredSearch(database, NAME) as searcher:
        assert searcher.search("word7", mode="dense", limit=1).hits[0][0] == 7


@pytest.mark.usefixtures("both")
def test_what_changes_is_embedded_once_for_both_generations(
    connection: psycopg.Connection, database: str
) -> None:
    connection.execute("UPDATE article SET body = 'something else' WHERE id <= 5")

    report = drain(database)

    assert (report.saved, report.embedded) == (10, 1)
    assert verify_all(database).ok


def test_what_is_asked_for_anew_comes_from_the_model(
    connection: psycopg.Connection, database: str, both: list[RegisteredIndex]
) -> None:
    requeue_rows(connection, both[1], "id <= 3")

    assert drain(database).embedded == 3
    assert verify_all(database).ok


def test_a_worker_goes_on_when_the_generation_beside_is_dropped(
    connection: psycopg.Connection, database: str, both: list[RegisteredIndex]
) -> None:
    before, serving = both
    log = ChangeLog(serving, "hand", 30)
    ingest = Ingest(serving, RecordingEmbedder(), log, before)
    with changing(database) as change:
        change.finish()

    with connect(database) as hand:
        register_vector(hand)
        for body in ("something else", "another"):
            connection.execute("UPDATE article SET body = %s WHERE id = 1", [body])
            batch = log.claim(hand, 10)
            assert batch is not None
            prepared = ingest.prepare(hand, batch)
            assert ingest.write(hand, prepared, ingest.embed(prepared)).saved == 1
