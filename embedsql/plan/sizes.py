"""Sizes on disk: of an approximate index by the page layout of pgvector, of a row's bookkeeping."""

from __future__ import annotations

from embedsql.ddl import wanted_indexes
from embedsql.spec import IndexSpec

PAGE = 8192
_PAGE_ROOM = PAGE - 24 - 8  # without the page's header and what pgvector keeps at its end
_ITEM = 4  # a line pointer
_ELEMENT = 72  # of a node of the graph, before its vector: ten row pointers and more
_LINK = 6


def ann_bytes(spec: IndexSpec, vectors: int) -> int:
    """Size of the approximate indexes on so many vectors; 0 where none is declared."""
    wanted = wanted_indexes(spec) if vectors else ()
    return sum(
        _ivfflat(one.entry_bytes, vectors, spec.ivfflat.lists or spec.ivfflat.lists_for(vectors))
        if one.method == "ivfflat"
        else _hnsw(one.entry_bytes, vectors, spec.hnsw.m)
        for one in wanted
    )


def _hnsw(size: int, vectors: int, m: int) -> int:
    """Each node is an element and its links, together in a page where they fit."""
    element = _aligned(_ELEMENT + size) + _ITEM
    # twice m links in the lowest layer, m in each above it, which one node in m reaches
    links = _aligned(4 + _LINK * 2 * m) + _ITEM + _LINK * m / (m - 1)
    if element + links > _PAGE_ROOM:
        in_a_page = int(_PAGE_ROOM // element)
        pages = vectors / in_a_page + vectors * links / _PAGE_ROOM if in_a_page > 1 else 2 * vectors
    else:
        pages = vectors / int(_PAGE_ROOM // (element + links))
    return PAGE * (1 + round(pages))


def _ivfflat(size: int, vectors: int, lists: int) -> int:
    """Entries of a list share its pages, the last of which is half empty."""
    entry = _aligned(8 + size) + _ITEM
    pages = vectors / (_PAGE_ROOM // entry) + lists / 2
    centres = lists / max(1, _PAGE_ROOM // (_aligned(8 + size) + _ITEM))
    return PAGE * (1 + round(pages + centres))


def row_bytes(key_bytes: float) -> float:
    """Bookkeeping of one source row: its hash and version, and its key's index entry."""
    table = _aligned(24 + round(key_bytes) + 8 + 33 + 4 + 1) + _ITEM
    return table + (_aligned(8 + round(key_bytes)) + _ITEM) / 0.9


def _aligned(size: int) -> int:
    return -(-size // 8) * 8
