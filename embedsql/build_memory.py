"""How much memory an approximate index is built in."""

from __future__ import annotations

import psycopg

from embedsql.database import is_pooled
from embedsql.ddl import ApproximateIndex

_ELEMENT_BYTES = 160  # of an HNSW graph's node, without its vector and its links
_LINK_BYTES = 16

# shared_buffers tells how much of the machine the server may use: a build may take as much again
_SETTINGS = """
SELECT pg_catalog.pg_size_bytes(pg_catalog.current_setting('maintenance_work_mem')),
       pg_catalog.pg_size_bytes(pg_catalog.current_setting('shared_buffers'))
"""


def build_memory(index: ApproximateIndex, rows: int) -> int:
    """Bytes in which the whole graph of an HNSW index fits while it is built, or IVFFlat's sample.

    Args:
        index: Which.
        rows: Vectors to be indexed.
    """
    spec, vector = index.spec, index.entry_bytes
    if index.method == "ivfflat":
        lists = spec.ivfflat.lists or spec.ivfflat.lists_for(rows)
        return min(rows, 50 * lists) * (vector + 8) + (8 << 20)
    # 2 m links in the lowest layer, and half as many again for the layers above it
    links = 2 * spec.hnsw.m * _LINK_BYTES * 3 // 2
    return rows * (vector + links + _ELEMENT_BYTES) + (8 << 20)


def set_build_memory(connection: psycopg.Connection, needed: int) -> int:
    """Let this session build in ``needed`` bytes, or in what the server's size allows.

    Through a pooler the session is anybody's, and keeps what it has.

    Returns:
        The bytes allowed.
    """
    row = connection.execute(_SETTINGS).fetchone()
    assert row is not None
    present, shared = row
    if is_pooled(connection):
        return int(present)
    allowed = int(max(present, min(needed, shared)))
    connection.execute(f"SET maintenance_work_mem = '{allowed >> 10}kB'".encode())
    return allowed
