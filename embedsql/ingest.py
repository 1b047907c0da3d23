"""One batch, end to end: claimed keys → texts → chunks → vectors → written and acknowledged.

No transaction is open while the model runs.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakSet

import psycopg

from embedsql.changelog import Batch, ChangeLog
from embedsql.chunking import Chunk, Chunker
from embedsql.embedders import Embedder, check_vectors
from embedsql.embedders.sparse import terms_of
from embedsql.errors import ConfigurationError, ProviderError, TextRejectedError
from embedsql.registry import RegisteredIndex
from embedsql.store import (
    EmbeddedChunk,
    EmbeddedRow,
    Encoded,
    Failure,
    Outcome,
    SourceText,
    Texts,
    Vectors,
)

log = logging.getLogger(__name__)


class Piece(NamedTuple):
    """A chunk, and the digest by which an equal one's vector is found."""

    chunk: Chunk
    content_hash: bytes


class PreparedRow(NamedTuple):
    """A claimed row, chunked. ``pieces`` is ``None`` where the stored chunks still stand."""

    source: SourceText
    pieces: Sequence[Piece] | None
    truncated: bool


@dataclass(eq=False)
class PreparedBatch:
    """What is known of a batch before the model runs.

    Attributes:
        batch: The claim.
        rows: Its rows that still exist.
        vectors: Stored vectors that serve again, by content hash; the model's are added here.
        beside: Batches that were not written when this one was read, whose vectors it may share.
        reused: Chunks that need no run of the model, since an equal one's vector serves.
        made: Distinct chunks that the model embedded.
    """

    batch: Batch
    rows: Sequence[PreparedRow]
    vectors: dict[bytes, Encoded]
    beside: Sequence[PreparedBatch] = ()
    reused: int = 0
    made: int = 0

    def missing(self) -> dict[bytes, str]:
        """The distinct texts to embed, by content hash."""
        return {
            piece.content_hash: piece.chunk.content
            for piece in self.pieces()
            if piece.content_hash not in self.vectors
        }

    def pieces(self) -> Iterator[Piece]:
        """The chunks of all rows."""
        for row in self.rows:
            yield from row.pieces or ()


class Ingest:
    """The steps of a batch, for one index and one embedder.

    Args:
        index: The index.
        embedder: Of the index's space.
        change_log: This worker's view of the index's log.
    """

    def __init__(self, index: RegisteredIndex, embedder: Embedder, change_log: ChangeLog) -> None:
        self.change_log = change_log
        self._index = index
        self._embedder = embedder
        self._sparse = terms_of(embedder)
        self._texts = Texts(index)
        self._vectors = Vectors(index)
        self._chunker = Chunker(
            index.spec.chunking,
            embedder.tokenizer,
            embedder.max_tokens,
            index.spec.parsed_template,
        )
        self._digest = hashlib.sha256(embedder.space.label.encode() + b"\0")
        self._unwritten = WeakSet[PreparedBatch]()
        self._guard = threading.Lock()

    def prepare(self, connection: psycopg.Connection, batch: Batch) -> PreparedBatch:
        """Read and chunk the rows' texts, and find vectors of equal chunks."""
        prepared = PreparedBatch(batch, [], {})
        with self._guard:  # before reading: what is written meanwhile may be missed by the look-up
            prepared.beside = list(self._unwritten)
            self._unwritten.add(prepared)
        prepared.rows = [self._chunked(source) for source in self._texts.read(connection, batch)]
        hashes = {piece.content_hash for piece in prepared.pieces()}
        prepared.vectors = self._texts.reusable(connection, hashes)
        return prepared

    def embed(
        self, prepared: PreparedBatch, stopping: Callable[[], bool] = lambda: False
    ) -> list[Failure]:
        """Run the model on what is missing; the vectors go into ``prepared``.

        Args:
            prepared: The batch.
            stopping: Asked between calls of the model; rows not done by then are given back.

        Returns:
            The rows that could not be embedded.

        Raises:
            ProviderError: The provider is at fault: give the batch back and wait.
            ConfigurationError: The index's declaration is.
        """
        missing = prepared.missing()
        for other in prepared.beside:
            shared = missing.keys() & other.vectors.keys()
            prepared.vectors |= {one: other.vectors[one] for one in shared}
            missing = {one: text for one, text in missing.items() if one not in shared}
        prepared.beside = ()
        known = len(prepared.vectors)
        prepared.reused = sum(1 for _ in prepared.pieces()) - len(missing)
        errors: dict[bytes, Exception] = {}
        for texts in _by_length(missing, self._embedder.call_characters):
            if stopping():
                break
            errors |= self._embed_bisecting(texts, prepared.vectors)
        prepared.made = len(prepared.vectors) - known
        failures = []
        for row in prepared.rows if errors else ():
            found = [
                error
                for piece in row.pieces or ()
                if (error := errors.get(piece.content_hash)) is not None
            ]
            if found:
                failures.append(_failure(row.source.place, found[0]))
        return failures

    def write(
        self, connection: psycopg.Connection, prepared: PreparedBatch, failures: Sequence[Failure]
    ) -> Outcome:
        """Store and acknowledge.

        Raises:
            LeaseLostError: Another worker owns the batch; nothing was written.
        """
        failed = {failure.place for failure in failures}
        rows = [
            embedded
            for row in prepared.rows
            if row.source.place not in failed
            and (embedded := _embedded(row, prepared.vectors)) is not None
        ]
        outcome = self._vectors.write(connection, self.change_log, prepared.batch, rows, failures)
        with self._guard:
            self._unwritten.discard(prepared)
        return outcome

    def park(self, connection: psycopg.Connection, batch: Batch, error: Exception) -> None:
        """Set a batch's keys aside, each with this error, for a later attempt.

        Raises:
            LeaseLostError: Another worker owns the batch; nothing was written.
        """
        failures = [_failure(place, error) for place in range(len(batch))]
        self._vectors.write(connection, self.change_log, batch, [], failures)

    def _chunked(self, source: SourceText) -> PreparedRow:
        if source.unchanged:
            return PreparedRow(source, None, source.truncated)
        if not source.text:
            return PreparedRow(source, (), source.truncated)
        chunks, cut = self._chunker.split(source.text, source.heading, source.named)
        first = chunks[0]
        if not first.before and source.heading and first.text.startswith(source.heading):
            chunks[0] = first._replace(titled=len(source.heading))
        pieces = [Piece(chunk, self._hash(chunk)) for chunk in chunks]
        return PreparedRow(source, pieces, cut or source.truncated)

    def _hash(self, chunk: Chunk) -> bytes:
        """Digest of what is embedded and in which space; 16 bytes."""
        digest = self._digest.copy()
        digest.update(chunk.content.encode("utf-8", "surrogatepass"))
        return digest.digest()[:16]

    def _embed_bisecting(
        self, texts: Sequence[tuple[bytes, str]], vectors: dict[bytes, Encoded]
    ) -> dict[bytes, Exception]:
        """Embed; where the model refuses, halve until the texts at fault stand alone."""
        try:
            found = self._embedder.embed_documents([text for _, text in texts])
            check_vectors(found, len(texts), self._embedder.space.dimensions)
            terms = self._terms([text for _, text in texts])
        except (ProviderError, ConfigurationError):
            raise
        except Exception as error:
            if len(texts) == 1:
                log.warning("a text could not be embedded: %s", type(error).__name__)
                return {texts[0][0]: error}
            middle = len(texts) // 2
            return self._embed_bisecting(texts[:middle], vectors) | self._embed_bisecting(
                texts[middle:], vectors
            )
        encoded = map(Encoded, found, terms)
        vectors.update(zip((content_hash for content_hash, _ in texts), encoded, strict=True))
        return {}

    def _terms(self, texts: Sequence[str]) -> Sequence[str | None]:
        return [None] * len(texts) if self._sparse is None else self._sparse.of_documents(texts)


def _by_length(texts: Mapping[bytes, str], characters: int) -> Iterator[list[tuple[bytes, str]]]:
    """Groups of texts of like length, longest first, so that little is padded."""
    group: list[tuple[bytes, str]] = []
    size = 0
    for item in sorted(texts.items(), key=lambda item: len(item[1]), reverse=True):
        if group and size + len(item[1]) > characters:
            yield group
            group, size = [], 0
        group.append(item)
        size += len(item[1])
    if group:
        yield group


def _embedded(row: PreparedRow, vectors: Mapping[bytes, Encoded]) -> EmbeddedRow | None:
    """``None`` where a chunk lacks its vector, since a worker was asked to stop."""
    source, pieces, truncated = row
    place, seen, input_hash = source[:3]
    if pieces is None:
        return EmbeddedRow(place, seen, input_hash, None, source.chunks, truncated)
    try:
        chunks = [EmbeddedChunk(chunk, key, vectors[key]) for chunk, key in pieces]
    except KeyError:
        return None
    return EmbeddedRow(place, seen, input_hash, chunks, len(chunks), truncated)


def _failure(place: int, error: Exception) -> Failure:
    permanent = isinstance(error, TextRejectedError)
    return Failure(place, permanent, type(error).__name__, str(error) or type(error).__name__)
