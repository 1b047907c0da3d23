"""Columns and vectors that are encoded at once arrive as the server's own, of every type."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest
from pgvector.psycopg import register_vector

from embedsql.store.arrays import Array, VectorArray


@pytest.mark.parametrize(("kind", "exact"), [("vector", np.float32), ("halfvec", np.float16)])
@pytest.mark.parametrize("count", [1, 300])
def test_an_array_arrives_as_it_was(
    connection: psycopg.Connection, kind: str, exact: type[np.floating], count: int
) -> None:
    register_vector(connection)
    given = np.random.default_rng(3).standard_normal((count, 5)).astype(np.float32)

    rows = connection.execute(
        f"SELECT v FROM unnest(%b::{kind}[]) WITH ORDINALITY AS u (v, n) ORDER BY n".encode(),
        [VectorArray(list(given), kind)],
    ).fetchall()

    assert [list(vector.to_numpy()) for (vector,) in rows] == given.astype(exact).tolist()


def test_a_connection_that_knows_no_vectors_says_so(connection: psycopg.Connection) -> None:
    array = VectorArray([np.ones(2, np.float32)], "vector")

    with pytest.raises(psycopg.ProgrammingError, match="register_vector"):
        connection.execute("SELECT %b::vector[]", [array])


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("bool", [True, False]),
        ("int4", [0, -1, 2**31 - 1]),
        ("int8", [0, -(2**63), 2**63 - 1]),
        ("bytea", [b"", b"\0\xff", bytes(300)]),
        ("bytea", [b"\0\xff\0", b"\0\0\0", b"abc"]),
        ("bytea", [b"abc", None, b"def"]),
        ("text", ["", "", ""]),
        ("text", [None, None]),
        ("text", ["", None, "né 漢🙂", '{"a", NULL}']),
        ("text", []),
        ("int8", []),
    ],
)
def test_a_column_arrives_as_it_was(
    connection: psycopg.Connection, kind: str, values: list[object]
) -> None:
    found = connection.execute(f"SELECT %b::{kind}[]".encode(), [Array(values, kind)]).fetchone()

    assert found == (values,)


def test_texts_arrive_in_the_encoding_of_the_connection(connection: psycopg.Connection) -> None:
    connection.execute("SET client_encoding = 'LATIN1'")

    found = connection.execute("SELECT %b::text[]", [Array(["né"], "text")]).fetchone()

    assert found == (["né"],)
