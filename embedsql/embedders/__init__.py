"""Texts to vectors. Query and document are different verbs, and each embedder knows its space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from embedsql.choices import Backend, check_backend
from embedsql.embedders.base import Embedder, Space, check_vectors
from embedsql.embedders.sparse import SparseTerms, WithTerms
from embedsql.errors import ConfigurationError, UnknownModelError
from embedsql.spec import IndexSpec

__all__ = [
    "Embedder",
    "EmbedderOptions",
    "Space",
    "check_model",
    "check_vectors",
    "load_embedder",
    "options_of",
]


@dataclass(frozen=True, kw_only=True)
class EmbedderOptions:
    """What chooses an embedder, besides its model's name.

    Attributes:
        dimensions: Length of the vectors; ``None``: the model's own.
        base_url: Where an ``openai:`` model is served.
        api_key: For that server.
        query_prompt: Overrides the model's own; likewise ``document_prompt``.
        threads: Threads of a local model; ``None``: its own choice.
        backend: What runs a local model; see ``IndexSpec``.
        sparse_model: A sparse encoder beside it; see ``IndexSpec``.
    """

    dimensions: int | None = None
    base_url: str | None = None
    api_key: str | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    threads: int | None = None
    backend: Backend = "torch"
    sparse_model: str | None = None


def options_of(
    spec: IndexSpec, *, api_key: str | None = None, threads: int | None = None
) -> EmbedderOptions:
    """The options that an index's declaration asks for."""
    return EmbedderOptions(
        dimensions=spec.dimensions,
        base_url=spec.base_url,
        api_key=api_key,
        query_prompt=spec.query_prompt,
        document_prompt=spec.document_prompt,
        threads=threads,
        backend=spec.backend,
        sparse_model=spec.sparse_model,
    )


def load_embedder(model: str, options: EmbedderOptions | None = None) -> Embedder:
    """The embedder called ``model``; a local model's weights are loaded here, not at import.

    Args:
        model: ``sentence-transformers/<anything SentenceTransformer() takes>``,
            ``openai:<model>`` or ``hash:<dims>``.
        options: See ``EmbedderOptions``.

    Raises:
        UnknownModelError: There is no such model, or its weights cannot be loaded.
        ConfigurationError: The dimensions do not fit the model.
        DeclarationError: The back end does not.
        MissingExtraError: The package that runs it is not installed.
    """
    chosen = options or EmbedderOptions()
    check_backend(chosen.backend, model)
    for prefix, load in _LOADERS.items():
        if model.startswith(prefix) and len(model) > len(prefix):
            embedder = load(model, chosen)
            _check_dimensions(model, embedder.space.dimensions, chosen.dimensions)
            if chosen.sparse_model is None:
                return embedder
            return WithTerms(embedder, SparseTerms(chosen.sparse_model, threads=chosen.threads))
    raise UnknownModelError(
        f"unknown model {model!r}: a name is sentence-transformers/<model>, openai:<model> or "
        "hash:<dimensions>"
    )


def check_model(model: str, dimensions: int) -> None:
    """Refuse what is known to be wrong without loading a model's weights.

    Raises:
        UnknownModelError: There is no such model.
        ConfigurationError: The dimensions do not fit the model.
    """
    if model.startswith("hash:") or not model.startswith(tuple(_LOADERS)):
        load_embedder(model, EmbedderOptions(dimensions=dimensions))


def _sentence_transformers(model: str, options: EmbedderOptions) -> Embedder:
    from embedsql.embedders.sentence_transformers import SentenceTransformersEmbedder

    return SentenceTransformersEmbedder(
        model,
        dimensions=options.dimensions,
        query_prompt=options.query_prompt,
        document_prompt=options.document_prompt,
        threads=options.threads,
        backend=options.backend,
    )


def _openai(model: str, options: EmbedderOptions) -> Embedder:
    from embedsql.embedders.openai import OpenAIEmbedder

    return OpenAIEmbedder(
        model,
        base_url=options.base_url,
        api_key=options.api_key,
        dimensions=options.dimensions,
        query_prompt=options.query_prompt,
        document_prompt=options.document_prompt,
    )


def _hash(model: str, options: EmbedderOptions) -> Embedder:
    from embedsql.embedders.hashing import HashEmbedder

    return HashEmbedder(
        model, query_prompt=options.query_prompt, document_prompt=options.document_prompt
    )


_LOADERS: dict[str, Callable[[str, EmbedderOptions], Embedder]] = {
    "sentence-transformers/": _sentence_transformers,
    "openai:": _openai,
    "hash:": _hash,
}


def _check_dimensions(model: str, found: int, asked: int | None) -> None:
    if asked is not None and found != asked:
        raise ConfigurationError(
            f"the model {model} gives vectors of {found} dimensions, not {asked}"
        )
