"""A model's tokenizer, to count with: it does not cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenizers import Tokenizer

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def tokenizer_of(model: SentenceTransformer) -> Tokenizer | None:
    """A copy without truncation and padding; ``None`` where it is of another library."""
    found = getattr(model.tokenizer, "backend_tokenizer", model.tokenizer)
    if not isinstance(found, Tokenizer):
        return None
    copy = Tokenizer.from_str(found.to_str())  # the model goes on cutting, the splitter must not
    copy.no_truncation()
    copy.no_padding()
    return copy
