"""One batch, end to end: claimed keys → texts → chunks → vectors → written and acknowledged.

No transaction is open while the model runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence

import psycopg

from embedsql.changelog import Batch, ChangeLog
from embedsql.chunking import Chunker
from embedsql.embedders import Embedder, check_vectors
from embedsql.embedders.base import forget
from embedsql.embedders.sparse import terms_of
from embedsql.errors import ConfigurationError, ProviderError, TextRejectedError
from embedsql.ingest.prepared import PreparedBatch, Unwritten
from embedsql.registry import RegisteredIndex
from embedsql.store import Encoded, Failure, Outcome, Row, SourceText, Texts, Vectors

__all__ = ["Ingest", "PreparedBatch", "Unwritten"]

log = logging.getLogger(__name__)


class Ingest:
    """The steps of a batch, for one index and one embedder.

    Args:
        index: The index.
        embedder: Of the index's space.
        change_log: This worker's view of the index's log.
        beside: Another generation of the index, of the same space.
        unwritten: Batches on their way, of this index and of others with the same space and type.
    """

    def __init__(
        self,
        index: RegisteredIndex,
        embedder: Embedder,
        change_log: ChangeLog,
        beside: RegisteredIndex | None = None,
        unwritten: Unwritten | None = None,
    ) -> None:
        self.change_log = change_log
        self._index = index
        self._embedder = embedder
        self._sparse = terms_of(embedder)
        self._texts = Texts(index, beside)
        self._vectors = Vectors(index)
        self._chunker = Chunker(
            index.spec.chunking,
            embedder.tokenizer,
            embedder.max_tokens,
            index.spec.parsed_template,
        )
        self._digest = hashlib.sha256(embedder.space.label.encode() + b"\0")
        self._unwritten = unwritten or Unwritten()

    def prepare(self, connection: psycopg.Connection, batch: Batch) -> PreparedBatch:
        """Read and chunk the rows' texts, and find vectors of equal chunks."""
        prepared = PreparedBatch(batch, [], {})
        self._unwritten.add(prepared)
        sources = self._texts.read(connection, batch)
        prepared.rows = [self._chunked(source) for source in sources]
        again = {source.place for source in sources if source.anew}
        prepared.anew = {one for row in prepared.rows if row.place in again for one in row.hashes}
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
            shared = (missing.keys() & other.vectors.keys()) - prepared.anew
            prepared.vectors |= {one: other.vectors[one] for one in shared}
            missing = {one: text for one, text in missing.items() if one not in shared}
        prepared.beside = ()
        forget(self._embedder, [missing[one] for one in prepared.anew & missing.keys()])
        known = len(prepared.vectors)
        prepared.reused = sum(len(row.hashes) for row in prepared.rows) - len(missing)
        errors: dict[bytes, Exception] = {}
        for texts in _by_length(missing, self._embedder.call_characters):
            if stopping():
                break
            errors |= self._embed_bisecting(texts, prepared.vectors)
        prepared.refused = {one: self._words_alone(missing[one]) for one in errors}
        prepared.made = len(prepared.vectors) - known
        failures = []
        for row in prepared.rows if errors else ():
            found = [errors[one] for one in row.hashes if one in errors]
            # A row with a chunk in neither was cut off as the worker was asked to stop: it is given
            # back, not failed.
            if found and all(one in errors or one in prepared.vectors for one in row.hashes):
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
            {**prepared.refused, **prepared.vectors},
            failures,
            failed,
        )
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
        place, seen, input_hash, unchanged, _, count, text, heading, named, truncated = source
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

    def _words_alone(self, text: str) -> Encoded:
        """What is had of a refused text: the terms of a sparse encoder, where that reads it."""
        with contextlib.suppress(Exception):
            return Encoded(None, *self._terms([text]))
        return Encoded(None)

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
