"""One batch, end to end: claimed keys → texts → chunks → vectors → written and acknowledged.

No transaction is open while the model runs.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakSet

import psycopg

from embedsql.changelog import Batch, ChangeLog
from embedsql.chunking import Chunker
from embedsql.embedders import Embedder, check_vectors
from embedsql.embedders.sparse import terms_of
from embedsql.errors import ConfigurationError, ProviderError, TextRejectedError
from embedsql.registry import RegisteredIndex
from embedsql.store import Encoded, Failure, Outcome, Row, SourceText, Texts, Vectors

log = logging.getLogger(__name__)


@dataclass(eq=False)
class PreparedBatch:
    """What is known of a batch before the model runs.

    Attributes:
        batch: The claim.
        rows: Its rows that still exist.
        vectors: Stored vectors that serve again, by digest; the model's are added here.
        beside: Batches that were not written when this one was read, whose vectors it may share.
        reused: Chunks that need no run of the model, since an equal one's vector serves.
        made: Distinct chunks that the model embedded.
    """

    batch: Batch
    rows: Sequence[Row]
    vectors: dict[bytes, Encoded]
    beside: Sequence[PreparedBatch] = ()
    reused: int = 0
    made: int = 0

    def missing(self) -> dict[bytes, str]:
        """The distinct texts to embed, by digest."""
        known = self.vectors.keys()
        return {
            content_hash: chunk.content
            for row in self.rows
            for content_hash, chunk in zip(row.hashes, row.chunks or (), strict=True)
            if content_hash not in known
        }

    def done(self, failures: Sequence[Failure]) -> tuple[Sequence[Row], Sequence[Row]]:
        """Rows that did not fail and whose chunks have their vectors, and those that failed.

        The others were left out, since the worker was asked to stop.
        """
        at_fault = {failure.place for failure in failures}
        has_vector = self.vectors.__contains__
        done = [row for row in self.rows if all(map(has_vector, row.hashes))]
        if not at_fault:
            return done, ()
        return (
            [row for row in done if row.place not in at_fault],
            [row for row in self.rows if row.place in at_fault],
        )


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
        hashes = {one for row in prepared.rows for one in row.hashes}
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
        prepared.reused = sum(len(row.hashes) for row in prepared.rows) - len(missing)
        errors: dict[bytes, Exception] = {}
        for texts in _by_length(missing, self._embedder.call_characters):
            if stopping():
                break
            errors |= self._embed_bisecting(texts, prepared.vectors)
        prepared.made = len(prepared.vectors) - known
        failures = []
        for row in prepared.rows if errors else ():
            found = [errors[one] for one in row.hashes if one in errors]
            if found:
                failures.append(_failure(row.place, found[0]))
        return failures

    def write(
        self, connection: psycopg.Connection, prepared: PreparedBatch, failures: Sequence[Failure]
    ) -> Outcome:
        """Store and acknowledge.

        Raises:
            LeaseLostError: Another worker owns the batch; nothing was written.
        """
        done, failed = prepared.done(failures)
        outcome = self._vectors.write(
            connection,
            self.change_log,
            prepared.batch,
            done,
            prepared.vectors,
            failures,
            failed,
        )
        with self._guard:
            self._unwritten.discard(prepared)
        return outcome

    def park(self, connection: psycopg.Connection, batch: Batch, error: Exception) -> None:
        """Set a batch's keys aside, each with this error, for a later attempt.

        Raises:
            LeaseLostError: Another worker owns the batch; nothing was written.
        """
        failures = [_failure(place, error) for place in range(len(batch))]
        self._vectors.write(connection, self.change_log, batch, [], {}, failures)

    def _chunked(self, source: SourceText) -> Row:
        place, seen, input_hash, unchanged, count, text, heading, named, truncated = source
        if unchanged:
            return Row(place, seen, input_hash, None, (), count, truncated)
        if not text:
            return Row(place, seen, input_hash, (), (), 0, truncated)
        chunks, cut = self._chunker.split(text, heading, named)
        first = chunks[0]
        if heading and not first.before and first.text.startswith(heading):
            chunks[0] = first._replace(titled=len(heading))
        hashes = [self._hash(chunk.content) for chunk in chunks]
        return Row(place, seen, input_hash, chunks, hashes, len(chunks), cut or truncated)

    def _hash(self, content: str) -> bytes:
        """Digest of what is embedded and in which space; 16 bytes."""
        digest = self._digest.copy()
        digest.update(content.encode("utf-8", "surrogatepass"))
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


def _failure(place: int, error: Exception) -> Failure:
    permanent = isinstance(error, TextRejectedError)
    return Failure(place, permanent, type(error).__name__, str(error) or type(error).__name__)
