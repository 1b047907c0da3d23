"""What fusion and BM25 must know of an index as a whole, sampled from its chunks.

The mean and deviation of the similarity of two chunks taken at random, which is what a similarity
is compared with; how far meaning and words agree; and the average length of a chunk. A worker
samples when an index has been filled, and again when it has grown to twice or shrunk to a quarter.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from embedsql import sqlfile
from embedsql.registry import RegisteredIndex
from embedsql.slots import Slots
from embedsql.vector_slots import VectorSlots
from embedsql.word_slots import WordSlots

log = logging.getLogger(__name__)

SAMPLE = 2000
FEWEST_PAIRS = 20  # of chunks: from fewer, mean and deviation are not known
ASKED = 200  # sampled chunks that are used as questions
DRIFT = 0.2  # share by which the average length may be off before weights are computed again
PAGES = 1000  # of the chunk table, rewritten in one transaction

# the same formulas as ``search.distance.similarity``
_SIMILARITY = {
    "cosine": "1 - (a.embedding <=> b.embedding)",
    "inner_product": "-(a.embedding <#> b.embedding)",
    "l2": "1 / (1 + (a.embedding <-> b.embedding))",
}

_STATE = """
SELECT embedsql.estimated_chunks(i.chunk_table), i.calibrated_chunks, i.average_length
FROM embedsql.semantic_index AS i WHERE i.index_id = %s
"""


@dataclass(frozen=True)
class Calibration:
    """What was sampled.

    Attributes:
        chunks: How many chunks there are, estimated.
        mean: Of the similarity of two chunks taken at random; ``None``: too few.
        deviation: Its standard deviation.
        length: Average length of a chunk, in words; ``None``: there is no lexical lane.
        agreement: The BM25 scores of a chunk's ten nearest by meaning, as a share of those of the
            ten best by words, on average; ``None``: too few chunks, or no lexical lane. A model
            that knows a language finds 0.63 to 0.9; one that does not, 0.35 to 0.6.
    """

    chunks: int
    mean: float | None
    deviation: float | None
    length: float | None
    agreement: float | None


def calibrate(
    connection: psycopg.Connection, index: RegisteredIndex, *, reweigh: bool = True
) -> Calibration:
    """Sample an index and keep the figures in the registry, where searches find them.

    Args:
        connection: In autocommit mode.
        index: The index.
        reweigh: Whether the lexical weights are made again if they were made for an average
            length that is off by more than a fifth. It rewrites the chunks.
    """
    slots = Slots(index.spec, index.names)
    estimated, _, made_for = _state(connection, index)
    sample = _Sample(connection, index, estimated)
    pairs, mean, deviation, length = sample.ask("sample.sql")
    length = length or None
    if pairs < FEWEST_PAIRS or not deviation:
        mean = deviation = None
    agreement = None
    if index.spec.finds_pending and mean is not None:
        _, agreement = sample.ask("agreement.sql")
    found = Calibration(round(estimated), mean, deviation, length, agreement)
    drifted = bool(length and made_for and abs(length / made_for - 1) > DRIFT)
    # All weights of an index must assume one average length: the registry's changes only when the
    # weights are computed again. A sparse encoder's weights do not depend on it.
    anew = drifted and reweigh and index.spec.sparse_model is None
    _keep(connection, index, found, length if anew or made_for is None else None)
    if anew:
        log.info("making the lexical weights of %s again", index.label)
        _reweigh(connection, slots, max(1.0, found.length or 1.0))
    return found


def calibrate_if_due(connection: psycopg.Connection, index: RegisteredIndex) -> Calibration | None:
    """Calibrate an index that never was, or is of another size now.

    The chunks are rewritten the first time only, before the vector index is built: each row
    rewritten later would be inserted into it again.
    """
    estimated, calibrated, _ = _state(connection, index)
    if calibrated is not None and calibrated / 4 <= estimated <= max(2 * calibrated, FEWEST_PAIRS):
        return None
    if calibrated is None and estimated < 1:
        return None
    # where this role does not own the table, only a warning; autovacuum does it later
    analyze = sql.SQL("ANALYZE {}").format(Slots(index.spec, index.names).chunk)
    connection.execute(analyze, {})
    return calibrate(connection, index, reweigh=calibrated is None)


class _Sample:
    """Some of an index's chunks, taken at random for each question."""

    def __init__(
        self, connection: psycopg.Connection, index: RegisteredIndex, estimated: float
    ) -> None:
        self._connection = connection
        slots = Slots(index.spec, index.names)
        vector = VectorSlots(slots)
        self._lock = sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(slots.source)
        self._slots = {
            "chunk": slots.chunk,
            "chunk_key": slots.own_key_of("c"),
            "viewed_vector": vector.viewed,
            "source_join": vector.source_join("JOIN"),
            "similarity": sqlfile.raw(_SIMILARITY[index.spec.metric]),
            "same_key": slots.same_key("a", "b"),
        }
        # twice as many pages as should do, since some are emptier than others
        percent = min(100.0, max(0.001, 200.0 * SAMPLE / max(estimated, 1.0)))
        self._values = {"percent": percent, "most": SAMPLE, "asked": ASKED}

    def ask(self, file: str) -> Any:
        """The one line that a statement on the sample gives."""
        statement = sqlfile.statement(__name__, file, **self._slots)
        with self._connection.transaction():
            # before the chunks, as a TRUNCATE of it does; where it holds the vectors, it is read
            self._connection.execute(self._lock, {})
            return self._connection.execute(statement, self._values).fetchone()


def _state(
    connection: psycopg.Connection, index: RegisteredIndex
) -> tuple[float, int | None, float | None]:
    row = connection.execute(_STATE, [index.index_id]).fetchone()
    return row if row is not None else (0.0, None, None)


def _keep(
    connection: psycopg.Connection,
    index: RegisteredIndex,
    found: Calibration,
    length: float | None,
) -> None:
    values = {
        "mean": found.mean,
        "deviation": found.deviation,
        "agreement": found.agreement,
        "length": length,
        "chunks": found.chunks,
        "index_id": index.index_id,
    }
    connection.execute(sqlfile.read(__name__, "keep.sql").encode(), values)


def _reweigh(connection: psycopg.Connection, slots: Slots, length: float) -> None:
    statement = sqlfile.statement(
        __name__, "reweigh.sql", chunk=slots.chunk, terms=WordSlots(slots).terms
    )
    size = sql.SQL(
        "SELECT pg_relation_size({}::regclass) / current_setting('block_size')::int"
    ).format(sqlfile.literal(sqlfile.text(slots.chunk)))
    row = connection.execute(size, {}).fetchone()
    pages = 0 if row is None else int(row[0])
    for first in range(0, pages + 1, PAGES):
        values = {"length": length, "from": f"({first},0)", "to": f"({first + PAGES},0)"}
        connection.execute(statement, values)
