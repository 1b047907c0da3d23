"""What an answer of an endpoint means: vectors, or whose fault it is that there are none."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import numpy as np
import pybase64
from pydantic_core import from_json

from embedsql.embedders.base import Vectors, check_vectors
from embedsql.errors import (
    BadVectorsError,
    ConfigurationError,
    EmbedsqlError,
    ProviderError,
    TextRejectedError,
    UnknownModelError,
)

LONGEST_RETRY_AFTER = 3600.0
QUOTA_SECONDS = 60.0  # a spent quota is a 429 too, but does not come back in a second
# besides rate limits: time-out, conflict, too early; each passes by itself
PASSING = frozenset({408, 409, 425, 429})


class ServerFailedError(ProviderError):
    """It answered 500: an outage, or a text on which it stumbles."""


class TooSlowError(ProviderError):
    """It did not answer in time: an outage, or too much at once."""


@dataclass(frozen=True)
class Answer:
    """A whole answer.

    Attributes:
        server: Who gave it, for messages.
        status: Of HTTP.
        headers: Of HTTP.
        body: Decompressed.
        text: The body's beginning, without secrets, for messages.
    """

    server: str
    status: int
    headers: httpx.Headers
    body: bytes | bytearray
    text: str


def failure(answer: Answer) -> EmbedsqlError:
    """The error that an answer amounts to whose status is not 2xx."""
    status = answer.status
    said = f"{answer.server} answered {status}: {answer.text}"
    if status in PASSING or status >= 500:
        seconds = retry_after(answer.headers)
        if status == 429 and seconds is None and "insufficient_quota" in answer.text:
            seconds = QUOTA_SECONDS
        return (ServerFailedError if status == 500 else ProviderError)(said, seconds)
    if status in (401, 403):
        return ConfigurationError(f"{said} (is OPENAI_API_KEY right?)")
    if status == 404:
        return UnknownModelError(f"{said} (is the model's name or --base-url right?)")
    if status in (400, 413, 415, 422):
        return TextRejectedError(said)
    return ConfigurationError(said)


def read_vectors(answer: Answer, count: int) -> Vectors:
    """The vectors of a successful answer, in the order of the request's texts.

    Returns:
        Shape (count, dimensions), float32, finite, none of them zero.

    Raises:
        ProviderError: It is no list of embeddings: a page of a proxy, or cut off.
        BadVectorsError: It is one, but not of these texts; one of them may be at fault.
    """
    items = _items(answer)
    if len(items) != count:
        raise BadVectorsError(f"{answer.server} gave {len(items)} vectors for {count} texts")
    try:
        placed = {item["index"]: item["embedding"] for item in items}
        vectors = _vectors([placed[place] for place in range(count)])
    except (ValueError, KeyError, TypeError) as error:
        raise BadVectorsError(
            f"{answer.server} gave vectors that cannot be read: {answer.text}"
        ) from error
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise BadVectorsError(
            f"{answer.server} answered with something other than vectors: {answer.text}"
        )
    return check_vectors(vectors, count, vectors.shape[1])


def _items(answer: Answer) -> list[Any]:
    try:
        items = _parsed(answer.body)["data"]
    except (ValueError, KeyError, TypeError, RecursionError):
        items = None
    if not isinstance(items, list):
        raise ProviderError(f"{answer.server} answered without embeddings: {answer.text}")
    return items


def _parsed(body: bytes | bytearray) -> Any:
    try:
        return from_json(body)
    except ValueError:  # which knows neither byte order marks nor halves of surrogate pairs
        return json.loads(body)


def _vectors(embeddings: Sequence[Any]) -> Vectors:
    if isinstance(embeddings[0], str):  # base64 of little-endian float32
        decoded = [pybase64.b64decode(embedding, validate=True) for embedding in embeddings]
        if len({len(one) for one in decoded}) > 1:
            raise ValueError("their dimensions differ")
        return np.frombuffer(b"".join(decoded), dtype="<f4").reshape(len(decoded), -1)
    with np.errstate(over="ignore"):  # what is infinite is refused
        return np.asarray(embeddings, dtype=np.float32)


def retry_after(headers: httpx.Headers) -> float | None:
    """Seconds that an answer asks to wait, an hour at most; ``None`` where it does not say.

    ``Retry-After`` holds seconds or a date, which is read by the server's own clock.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    said = headers.get("Retry-After")
    seconds = _number(said) if milliseconds is None else milliseconds / 1000
    if seconds is None and (until := _date(said)) is not None:
        seconds = (until - (_date(headers.get("Date")) or datetime.now(UTC))).total_seconds()
    return None if seconds is None else min(max(0.0, seconds), LONGEST_RETRY_AFTER)


def _number(said: str | None) -> float | None:
    try:
        number = float(said or "nan")
    except ValueError:
        return None
    return None if math.isnan(number) else number


def _date(said: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(said or "")
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
