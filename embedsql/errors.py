"""The errors of embedsql, one tree::

EmbedsqlError
├── ConfigurationError        a setting, URL or option is wrong
│   ├── MissingExtraError     an optional package is not installed (also an ImportError)
│   ├── UnknownModelError     there is no such model, or its weights cannot be loaded
│   └── SpaceMismatchError    two vectors' spaces differ: model, dimensions, prompts, ...
├── DeclarationError          a semantic index that is not possible (also a ValueError)
├── DatabaseError             the database is not as it must be
│   ├── ConnectionFailedError no connection could be made
│   ├── ExtensionError        pgvector is missing or too old
│   └── SchemaVersionError    the kit's schema is not installed, or of another version
├── ModelChangeError          a model change that cannot begin or go on
├── IndexNotFoundError        no semantic index has this name (also a LookupError)
├── QueryError                a search that cannot be run (also a ValueError)
├── InputFileError            a file of queries or judgements cannot be read
├── EmbeddingError            texts did not become vectors
│   ├── TextRejectedError     the text is at fault: trying again is no use
│   ├── ProviderError         the provider is at fault: wait and try again
│   └── BadVectorsError       NaN, zero, or of the wrong shape
├── RerankError               a reranker gave no usable scores
├── LeaseLostError            another worker owns the batch now; nothing was written
└── EmbeddedPostgresError     the embedded server cannot run here
"""

from __future__ import annotations


class EmbedsqlError(Exception):
    """Root of every error that embedsql raises on purpose."""


class ConfigurationError(EmbedsqlError):
    """A setting, URL or option is wrong."""


class MissingExtraError(ConfigurationError, ImportError):
    """An optional package is not installed.

    Attributes:
        extra: The extra of embedsql that brings it.
    """

    def __init__(self, extra: str, why: str) -> None:
        super().__init__(f"{why} needs an optional package: pip install 'embedsql[{extra}]'")
        self.extra = extra


class UnknownModelError(ConfigurationError):
    """There is no such model, or its weights cannot be loaded."""


class SpaceMismatchError(ConfigurationError):
    """Vectors of two spaces would have been compared."""


class DeclarationError(EmbedsqlError, ValueError):
    """A semantic index that is not possible: no such table, no primary key, name taken, ..."""


class DatabaseError(EmbedsqlError):
    """The database is not as it must be."""


class ConnectionFailedError(DatabaseError):
    """No connection could be made."""


class ExtensionError(DatabaseError):
    """pgvector is missing or too old."""


class SchemaVersionError(DatabaseError):
    """The kit's schema is not installed, or is of a version this release does not know."""


class ModelChangeError(EmbedsqlError):
    """A model change that cannot begin or go on; nothing that serves was touched."""


class IndexNotFoundError(EmbedsqlError, LookupError):
    """No semantic index has this name."""


class QueryError(EmbedsqlError, ValueError):
    """A search that cannot be run: empty or oversized query, limit out of range, ..."""


class InputFileError(EmbedsqlError):
    """A file of queries or judgements cannot be read; the message names file and line."""


class EmbeddingError(EmbedsqlError):
    """Texts did not become vectors."""


class TextRejectedError(EmbeddingError):
    """The text itself is at fault; the same text would fail again."""


class ProviderError(EmbeddingError):
    """The provider is at fault: rate limit, outage, time-out. The texts are not to blame.

    Attributes:
        retry_after: Seconds the provider asked us to wait, if it said so.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BadVectorsError(EmbeddingError):
    """The embedder gave vectors that must not be stored: NaN, zero, wrong count or dimensions."""


class RerankError(EmbedsqlError):
    """A reranker gave no usable scores: no answer in time, a refusal, NaN, too few of them."""


class LeaseLostError(EmbedsqlError):
    """The batch's lease ran out and another worker owns it now; nothing was written."""


class EmbeddedPostgresError(EmbedsqlError):
    """The embedded server cannot run here; the message says why and what to do."""
