"""A row's text to chunks that the model reads whole. Pure: no database, no model run."""

from __future__ import annotations

from embedsql.chunking.chunk import Chunk
from embedsql.chunking.chunker import DEFAULT_TOKENS, Chunker

__all__ = ["DEFAULT_TOKENS", "Chunk", "Chunker"]
