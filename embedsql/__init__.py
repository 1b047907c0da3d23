"""Semantic search inside the PostgreSQL your application already has.

Declare a ``SemanticIndex`` beside a model, migrate, run ``embedsql worker``, search.
"""

from __future__ import annotations

from embedsql.across import search_across
from embedsql.choices import Chunking
from embedsql.errors import (
    BadVectorsError,
    ConfigurationError,
    ConnectionFailedError,
    DatabaseError,
    DeclarationError,
    EmbeddedPostgresError,
    EmbeddingError,
    EmbedsqlError,
    ExtensionError,
    IndexNotFoundError,
    InputFileError,
    LeaseLostError,
    MissingExtraError,
    ModelChangeError,
    ProviderError,
    QueryError,
    RerankError,
    SchemaVersionError,
    SpaceMismatchError,
    TextRejectedError,
    UnknownModelError,
)
from embedsql.index import SemanticIndex
from embedsql.key import KeyColumn
from embedsql.search import Hit, SearchTuning, Shaping, recency
from embedsql.spec import IndexSpec
from embedsql.vectors import Hnsw, Ivfflat

__all__ = [
    "BadVectorsError",
    "Chunking",
    "ConfigurationError",
    "ConnectionFailedError",
    "DatabaseError",
    "DeclarationError",
    "EmbeddedPostgresError",
    "EmbeddingError",
    "EmbedsqlError",
    "ExtensionError",
    "Hit",
    "Hnsw",
    "IndexNotFoundError",
    "IndexSpec",
    "InputFileError",
    "Ivfflat",
    "KeyColumn",
    "LeaseLostError",
    "MissingExtraError",
    "ModelChangeError",
    "ProviderError",
    "QueryError",
    "RerankError",
    "SchemaVersionError",
    "SearchTuning",
    "SemanticIndex",
    "Shaping",
    "SpaceMismatchError",
    "TextRejectedError",
    "UnknownModelError",
    "recency",
    "search_across",
]
