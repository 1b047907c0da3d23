"""The questions a tuning asks: vectors of stored rows, or of judged queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql

from embedsql import sqlfile
from embedsql.key import shown_key
from embedsql.registry import RegisteredIndex
from embedsql.slots import Slots
from embedsql.vector_index import count_vectors
from embedsql.vectors import OPERATORS

Vector = npt.NDArray[np.float32]
K = 10
_MANY = 1_000_000  # vectors, from which on whole pages are sampled


@dataclass(frozen=True, eq=False)
class Probe:
    """One question.

    Attributes:
        vector: Shape (dimensions,).
        key: Of the row that it is the vector of, which does not count as an answer.
    """

    vector: Vector
    key: Any = None

    @property
    def limit(self) -> int:
        """Rows to ask for, so that ten answers are left."""
        return K + (self.key is not None)


def stored_probes(connection: psycopg.Connection, index: RegisteredIndex, most: int) -> list[Probe]:
    """Vectors of about ``most`` chunks, of rows that exist; the same ones each time."""
    slots = Slots(index.spec, index.names)
    method, percent = sampling(count_vectors(connection, index), most)
    statement = sqlfile.statement(
        __package__,
        "probes.sql",
        chunk=slots.chunk,
        chunk_view=slots.chunk_view,
        source=slots.source,
        key_columns=slots.key_columns,
        key_values=slots.own_key_of("c"),
        key_match=slots.key_match("s", "k"),
        same_chunk=slots.same_key("c", "k"),
        method=sql.SQL(method),
    )
    found = connection.execute(statement, {"percent": percent, "most": most}).fetchall()
    return [
        Probe(np.array(vector, dtype=np.float32), shown_key(index.spec.key, key))
        for *key, vector in found
    ]


def sampling(count: int, most: int) -> tuple[Literal["SYSTEM", "BERNOULLI"], float]:
    """How ``most`` of ``count`` chunks are sampled: by which method, and how many per cent."""
    return "SYSTEM" if count > _MANY else "BERNOULLI", min(100.0, 200.0 * most / max(count, 1))


class ExactSearch:
    """The distances of the nearest rows, without any approximate index."""

    def __init__(self, connection: psycopg.Connection, index: RegisteredIndex) -> None:
        spec, slots = index.spec, Slots(index.spec, index.names)
        self._connection = connection
        self._statement = sqlfile.statement(
            __package__,
            "exact.sql",
            chunk_view=slots.chunk_view,
            source=slots.source,
            key_columns=slots.own_key_of("c"),
            key_match=slots.key_match("s", "c"),
            operator=sqlfile.raw(OPERATORS[spec.vectors.metric]),
            vector_type=sqlfile.raw(spec.vector_type),
        )

    def distances(self, probe: Probe) -> Sequence[float]:
        """Of the ``probe.limit`` nearest rows, nearest first."""
        vector = f"[{','.join(map(repr, probe.vector.tolist()))}]"
        found = self._connection.execute(
            self._statement, {"vector": vector, "limit": probe.limit}
        ).fetchall()
        return [float(row[0]) for row in found if row[0] is not None]
