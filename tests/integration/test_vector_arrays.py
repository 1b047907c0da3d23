"""Vectors that are encoded at once arrive as the server's own, of either type."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest
from pgvector.psycopg import register_vector

from embedsql.store.arrays import VectorArray


@pytest.mark.parametrize(("kind", "exact"), [("vector", np.float32), ("halfvec", np.float16)])
@pytest.mark.parametrize("count", [0, 1, 300])
def test_an_array_arrives_as_it_was(
    connection: psycopg.Connection, kind: str, exact: type[np.floating], count: int
) -> None:
    register_vector(connection)
    given = np.random.default_rng(3).standard_normal((count, 5)).astype(np.float32)

    rows = connection.execute(
        f"SELECT v FROM unnest(%b::{kind}[]) WITH ORDINALITY AS u (v, n) ORDER BY n".encode(),
        [VectorArray(given, kind)],
    ).fetchall()

    assert [list(vector.to_numpy()) for (vector,) in rows] == given.astype(exact).tolist()


def test_a_connection_that_knows_no_vectors_says_so(connection: psycopg.Connection) -> None:
    array = VectorArray(np.ones((1, 2), np.float32), "vector")

    with pytest.raises(psycopg.ProgrammingError, match="register_vector"):
        connection.execute("SELECT %b::vector[]", [array])
