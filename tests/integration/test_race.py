"""Writers against workers, at random; and proof that this race finds what it is there to find.

Three guards keep an outdated vector out: a write takes only a text that is still the row's, never
overwrites a newer version, and is fenced by its batch. Each alone makes up for the other two, so
the first control breaks all three. The second breaks what no guard makes up for: a write forgets
just the changes that its batch observed (and the first guard, which would make this a rare event).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import psycopg
import pytest

from embedsql import sqlfile
from embedsql.changelog import ChangeLog
from embedsql.choices import Chunking
from embedsql.chunking import Chunker
from embedsql.embedders.hashing import HashEmbedder
from embedsql.registry import RegisteredIndex
from tests.factories import add_index, create_article_table, drain, verify_all
from tests.integration.racing import Race

SECONDS = 6.0
CONTROL_SECONDS = 3.0
CONTROL_SEEDS = range(4)
CHUNKING = Chunking(tokens=8, overlap=0)


def settle(connection: psycopg.Connection, database: str, index: RegisteredIndex) -> None:
    """What was buried since its workers were killed gets another chance; then all is done."""
    buried = connection.execute("SELECT DISTINCT error_class FROM embedsql.dead_letter").fetchall()
    assert buried in ([], [("WorkerCrash",)])
    ChangeLog(index, "settle").revive(connection)
    drain(database)


def disagreements(connection: psycopg.Connection) -> list[int]:
    """The keys whose stored chunks and vectors are not exactly those of the row's text, found
    without any of the SQL under test.
    """
    expected: dict[int, list[tuple[str, list[float]]]] = {}
    chunker, embedder = Chunker(CHUNKING, None, None), HashEmbedder("hash:64")
    for key, body in connection.execute("SELECT id, body FROM article WHERE body <> ''"):
        pieces = [chunk.content for chunk in chunker.split(body)[0]]
        vectors = embedder.embed_documents(pieces).round(4).tolist()
        expected[key] = list(zip(pieces, vectors, strict=True))
    stored: dict[int, list[tuple[str, list[float]]]] = {}
    for key, chunk, vector in connection.execute(
        "SELECT key_1, chunk, embedding::real[] FROM embedsql.article_search_chunk_1 "
        "ORDER BY key_1, chunk_seq"
    ):
        rounded = np.asarray(vector, dtype=np.float32).round(4).tolist()
        stored.setdefault(key, []).append((chunk, rounded))
    keys = sorted(expected.keys() | stored.keys())
    return [key for key in keys if expected.get(key) != stored.get(key)]


def start(connection: psycopg.Connection) -> RegisteredIndex:
    create_article_table(connection)
    return add_index(connection, text=("body",), chunking=CHUNKING, index="none")


def test_no_race_leaves_anything_wrong(
    connection: psycopg.Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = start(connection)
    race = Race(database, monkeypatch)

    race.run(SECONDS, seed=int(time.time()))
    settle(connection, database, index)

    assert min(race.happened[what] for what in ("lease lost", "killed")) > 0, race.happened
    assert min(race.happened[what] for what in ("saved", "transaction")) > 50, race.happened
    assert verify_all(database).ok
    assert disagreements(connection) == []


TEXT_CHECK = (
    "save_rows.sql",
    "WHEN (s.xmin <> c.seen OR s.xmin = '0'::xid) AND c.input_hash <> {input_hash} THEN NULL",
    "",
)
VERSION_CHECK = ("save_rows.sql", "WHEN r.version > c.version THEN 'older'", "")
OBSERVED_ONLY = ("acknowledge.sql", "seq = ANY (%(seqs)b) AND", "")


def broken(*guards: tuple[str, str, str]) -> Callable[[str, str], str]:
    """``sqlfile.read``, but without these guards."""
    intact = sqlfile.read

    def read(package: str, name: str) -> str:
        statement = intact(package, name)
        for file, guard, instead in guards:
            if file == name:
                assert guard in statement
                statement = statement.replace(guard, instead)
        return statement

    return read


@pytest.mark.parametrize(
    ("guards", "fenced"),
    [((TEXT_CHECK, VERSION_CHECK), False), ((TEXT_CHECK, OBSERVED_ONLY), True)],
    ids=["late workers overwrite", "changes are forgotten"],
)
@pytest.mark.exhaustive
def test_the_race_catches_a_broken_write_path(
    connection: psycopg.Connection,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
    guards: Sequence[tuple[str, str, str]],
    fenced: bool,
) -> None:
    index = start(connection)
    for seed in CONTROL_SEEDS:
        with monkeypatch.context() as patched:
            patched.setattr(sqlfile, "read", broken(*guards))
            race = Race(database, patched)
            if not fenced:
                patched.setattr(ChangeLog, "fence", ChangeLog.release)
            race.run(CONTROL_SECONDS, seed)
            settle(connection, database, index)

        verdict = verify_all(database)
        if verdict.missing + verdict.stale + verdict.orphans > 0 or disagreements(connection):
            return
    pytest.fail(f"{len(CONTROL_SEEDS)} races found nothing wrong with a broken write path")
