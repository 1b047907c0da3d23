"""What options say of a model and of the chunks that it reads."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

import typer

from embedsql.choices import Chunking
from embedsql.cli.options import note, openai_key
from embedsql.embedders import EmbedderOptions, Space, load_embedder
from embedsql.errors import DeclarationError, ProviderError


class Providers(StrEnum):
    """Where an embedder comes from."""

    SENTENCE_TRANSFORMERS = "sentence-transformers"
    OPENAI = "openai"
    HASH = "hash"


def model_space(model: str, options: EmbedderOptions) -> Space | None:
    """The model's space; ``None`` where its server is away but the dimensions were given."""
    try:
        return load_embedder(model, replace(options, api_key=openai_key())).space
    except ProviderError as error:
        if options.dimensions is None:
            raise
        note(f"{error}; taking your word for {options.dimensions} dimensions")
        return None


def full_name(model: str, provider: Providers | None) -> str:
    """A model's name with the prefix of its provider."""
    if provider is None:
        return model
    separator = "/" if provider is Providers.SENTENCE_TRANSFORMERS else ":"
    prefix = provider.value + separator
    return model if model.startswith(prefix) else prefix + model


def chunking_of(
    tokens: int | None, overlap: int | None, markdown: bool | None, whole: bool
) -> Chunking | None:
    """How texts are cut, as the options say it."""
    if whole and (tokens, overlap, markdown) != (None, None, None):
        raise typer.BadParameter(
            "excludes --chunk-tokens, --chunk-overlap and --markdown", param_hint="--no-chunking"
        )
    if whole:
        return None
    try:
        return Chunking(tokens, overlap, markdown)
    except DeclarationError as error:
        raise typer.BadParameter(str(error), param_hint="--chunk-tokens") from error
