"""What a declaration may choose, and refusals of what it may not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from embedsql.errors import DeclarationError
from embedsql.naming import MAX_BYTES

LOCAL = "sentence-transformers/"  # prefix of models that run in this process

Backend = Literal["torch", "openvino", "onnx"]
Storage = Literal["table", "column"]
LexicalIndex = Literal["gin", "hnsw"]


@dataclass(frozen=True)
class Chunking:
    """How a text is cut into chunks.

    Attributes:
        tokens: Most tokens in a chunk, its context included, counted by the model's own tokenizer.
            ``None``: 192, or what the model reads if that is less.
        overlap: Tokens that neighbouring chunks share. ``None``: a quarter of a chunk, at most 32.
        markdown: Whether texts are Markdown: cut at its structure, each chunk with the path of
            headings above it. ``None``: those that have a heading.
    """

    tokens: int | None = None
    overlap: int | None = None
    markdown: bool | None = None

    def __post_init__(self) -> None:
        if self.tokens is not None and self.tokens < 8:
            raise DeclarationError(f"chunks of {self.tokens} tokens are too short; use 8 or more")
        if self.overlap is None:
            return
        if self.overlap < 0:
            raise DeclarationError(f"the overlap must be 0 tokens or more, not {self.overlap}")
        if self.tokens is not None and self.overlap * 2 > self.tokens:
            raise DeclarationError(
                f"an overlap of {self.overlap} tokens is more than half of a chunk of "
                f"{self.tokens}; use at most {self.tokens // 2}"
            )


def check_choice(what: str, chosen: Any, choices: Sequence[Any]) -> None:
    """Refuse what is none of the choices; the message lists them, but for ``None``.

    Raises:
        DeclarationError: With those that there are.
    """
    if chosen not in choices:
        known = ", ".join(str(choice) for choice in choices if choice is not None)
        raise DeclarationError(f"no such {what}: {chosen!r}; use {known}")


def check_kind(what: str, given: object, kind: type) -> None:
    """Refuse a value of another type, which would not survive the registry's JSON.

    Raises:
        DeclarationError: With what it should be.
    """
    if not isinstance(given, kind):
        raise DeclarationError(f"{what} must be a {kind.__name__}, not {given!r}")


def check_backend(backend: str, model: str) -> None:
    """Refuse a back end that does not exist or cannot run the model.

    Raises:
        DeclarationError: With what is wrong.
    """
    if backend not in get_args(Backend):
        raise DeclarationError(f"no such back end: {backend!r}; use torch, openvino or onnx")
    if backend != "torch" and not model.startswith(LOCAL):
        raise DeclarationError(f"the back end {backend} cannot run the model {model!r}")


def check_name(name: str) -> None:
    """Refuse a name that PostgreSQL would truncate or reject.

    Raises:
        DeclarationError: With what is wrong.
    """
    if not name or "\0" in name:
        raise DeclarationError("an index needs a name without NUL characters")
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise DeclarationError(f"the index name {name!r} is not valid text: a lone surrogate")
    if len(name.encode()) > MAX_BYTES:
        raise DeclarationError(f"the index name {name!r} is longer than {MAX_BYTES} bytes")
