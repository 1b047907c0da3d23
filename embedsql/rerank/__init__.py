"""Rerank: a slower, better judge orders again what a search found.

A reranker is any callable of a query and passages; ``cross_encoder`` and ``endpoint`` make two
kinds. What runs them is loaded when one is made, not before.
"""

from __future__ import annotations

from embedsql.rerank.order import Reranked, rerank
from embedsql.rerank.reranker import Reranker

__all__ = ["Reranked", "Reranker", "cross_encoder", "endpoint", "rerank"]


def cross_encoder(model: str, *, threads: int | None = None) -> Reranker:
    """A cross-encoder that runs here: it reads the query and a passage together.

    Args:
        model: Anything that ``sentence_transformers.CrossEncoder()`` takes: a hub name or a folder.
        threads: Threads of torch; ``None``: its own choice.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        UnknownModelError: The model cannot be loaded.
        ConfigurationError: It gives more than one score a passage.
    """
    from embedsql.rerank.local import CrossEncoderReranker

    return CrossEncoderReranker(model, threads=threads)


def endpoint(
    base_url: str, model: str | None = None, *, api_key: str | None = None, timeout: float = 10.0
) -> Reranker:
    """A server that reranks: ``POST <base_url>/rerank``.

    Args:
        base_url: For example ``https://api.jina.ai/v1``.
        model: Its name there, sent as Jina, Cohere, vLLM and others take it. ``None``: a server of
            one model that takes ``texts``, as Hugging Face's text-embeddings-inference.
        api_key: Sent as a bearer token. ``None``: ``EMBEDSQL_RERANK_API_KEY``; or none at all.
        timeout: Seconds for an answer, however it trickles in and with all attempts.

    Raises:
        ConfigurationError: The URL or the key cannot be.
    """
    from embedsql.rerank.remote import EndpointReranker

    return EndpointReranker.of(base_url, model, api_key=api_key, timeout=timeout)
