"""``embedsql install | uninstall | add | drop``: what exists in the database."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Annotated

import psycopg
import typer

from embedsql import ddl, schema
from embedsql.catalog import SourceTable, describe_source
from embedsql.cli.logs import configure_logging
from embedsql.cli.options import DatabaseUrl, IndexName, PrintSql, conninfo, note
from embedsql.database import connect
from embedsql.declare import (
    check_declaration,
    create_index,
    drop_index,
    drop_index_statements,
)
from embedsql.embedders import EmbedderOptions, Space, load_embedder
from embedsql.errors import DeclarationError, ProviderError
from embedsql.installation import install, installed_version, uninstall
from embedsql.settings import Settings
from embedsql.spec import DEFAULT_MODEL, Chunking, IndexSpec


class Quantizations(StrEnum):
    """How vectors are stored."""

    NONE = "none"
    HALFVEC = "halfvec"


class Indexes(StrEnum):
    """The approximate index."""

    HNSW = "hnsw"
    NONE = "none"


class Providers(StrEnum):
    """Where an embedder comes from."""

    SENTENCE_TRANSFORMERS = "sentence-transformers"
    OPENAI = "openai"
    HASH = "hash"


class Backends(StrEnum):
    """What runs a local model."""

    TORCH = "torch"
    OPENVINO = "openvino"
    ONNX = "onnx"


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("install")(install_schema)
    app.command("uninstall")(uninstall_schema)
    app.command("add", no_args_is_help=True)(add)
    app.command("drop", no_args_is_help=True)(drop)


def install_schema(database_url: DatabaseUrl = None, print_sql: PrintSql = False) -> None:
    """Install or upgrade the kit's own schema; nothing to do is no error."""
    if print_sql:
        typer.echo("CREATE EXTENSION IF NOT EXISTS vector;\n")
        typer.echo(schema.upgrade_sql(0))
        return
    with connect(conninfo(database_url)) as connection:
        before = install(connection)
    there = "was there already" if before == schema.LATEST else f"installed (before: {before})"
    note(f"schema version {schema.LATEST} {there}")


def uninstall_schema(database_url: DatabaseUrl = None, print_sql: PrintSql = False) -> None:
    """Remove the kit's schema, and with it every semantic index; source tables stay untouched."""
    if print_sql:
        typer.echo(schema.downgrade_sql(schema.LATEST))
        return
    with connect(conninfo(database_url)) as connection:
        before = uninstall(connection)
    note(f"schema version {before} removed" if before else "it was not installed")


def add(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="As in SQL: article, app.article.")],
    text: Annotated[list[str], typer.Option("--text", help="A text column; may be repeated.")],
    name: Annotated[str | None, typer.Option(help="Default: <table>_search.")] = None,
    template: Annotated[
        str | None,
        typer.Option(help="What is embedded of each chunk, '{title}: {chunk}' say."),
    ] = None,
    model: Annotated[str, typer.Option(help="The embedder, by name.")] = DEFAULT_MODEL,
    provider: Annotated[
        Providers | None, typer.Option(help="Where a model named without prefix comes from.")
    ] = None,
    backend: Annotated[
        Backends,
        typer.Option(help="What runs a local model; all but torch do so on int8 weights."),
    ] = Backends.TORCH,
    base_url: Annotated[str | None, typer.Option(help="Server of an openai: model.")] = None,
    dimensions: Annotated[int | None, typer.Option(help="Default: the model's own.")] = None,
    quantization: Annotated[
        Quantizations, typer.Option(help="How vectors are stored.")
    ] = Quantizations.NONE,
    index: Annotated[Indexes, typer.Option(help="The approximate index.")] = Indexes.HNSW,
    lexical: Annotated[
        str, typer.Option(help="Text-search configuration of the lexical lane, or none.")
    ] = "english",
    chunk_tokens: Annotated[
        int | None, typer.Option(help="Most tokens in a chunk. Default: 192.")
    ] = None,
    chunk_overlap: Annotated[
        int | None,
        typer.Option(help="Tokens that neighbouring chunks share. Default: up to 32."),
    ] = None,
    markdown: Annotated[
        bool | None,
        typer.Option(
            "--markdown/--no-markdown", help="Default: texts that have a heading are Markdown."
        ),
    ] = None,
    no_chunking: Annotated[
        bool, typer.Option("--no-chunking", help="One vector a row, of what the model reads.")
    ] = False,
    query_prompt: Annotated[str | None, typer.Option(help="Default: the model's own.")] = None,
    document_prompt: Annotated[str | None, typer.Option(help="Default: the model's own.")] = None,
    replicated: Annotated[
        bool, typer.Option("--replicated", help="A subscription writes the table.")
    ] = False,
    database_url: DatabaseUrl = None,
    print_sql: PrintSql = False,
) -> None:
    """Make a semantic index on an existing table; its rows wait to be embedded."""
    chunking = _chunking(chunk_tokens, chunk_overlap, markdown, no_chunking)
    if dimensions is not None and dimensions < 1:
        raise typer.BadParameter("must be at least 1", param_hint="--dimensions")
    full_model = _full_name(model, provider)
    configure_logging(retries=False)  # making int8 weights takes a minute: say so
    with connect(conninfo(database_url)) as connection:
        source = describe_source(connection, table)
        embedding = EmbedderOptions(
            dimensions=dimensions,
            backend=backend.value,
            base_url=base_url,
            query_prompt=query_prompt,
            document_prompt=document_prompt,
        )

        def declared(found: int) -> IndexSpec:
            return IndexSpec(
                name=name or f"{source.name}_search",
                table=source.name,
                schema=source.schema,
                key=source.key,
                text=tuple(text),
                template=template,
                dimensions=found,
                model=full_model,
                backend=backend.value,
                base_url=base_url,
                query_prompt=query_prompt,
                document_prompt=document_prompt,
                quantization=quantization.value,
                index=index.value,
                lexical=None if lexical == "none" else lexical,
                chunking=chunking,
                replicated=replicated,
            )

        # all that costs nothing is checked before a model is loaded
        check_declaration(connection, declared(dimensions or 1), source)
        space = model_space(full_model, embedding)
        spec = declared(space.dimensions if space else dimensions or 0)
        label = space.label if space else None
        if print_sql:
            _print_statements(spec, source, label)
            return
        _install_if_missing(connection)
        rows = create_index(connection, spec, source, label)
    note(f"{spec.name}: {rows} rows wait to be embedded; run: embedsql worker")


def drop(index: IndexName, database_url: DatabaseUrl = None, print_sql: PrintSql = False) -> None:
    """Remove a semantic index and all it made; the source table stays untouched."""
    with connect(conninfo(database_url)) as connection:
        if print_sql:
            for statement in drop_index_statements(connection, index):
                typer.echo(statement + "\n")
            return
        drop_index(connection, index)
    note(f"{index} removed")


def _install_if_missing(connection: psycopg.Connection) -> None:
    if installed_version(connection) == 0:
        install(connection)
        note(f"schema version {schema.LATEST} installed")


def model_space(model: str, options: EmbedderOptions) -> Space | None:
    """The model's space; ``None`` where its server is away but the dimensions were given."""
    key = Settings().openai_api_key
    secret = key.get_secret_value() if key else None
    try:
        return load_embedder(
            model,
            replace(options, api_key=secret),
        ).space
    except ProviderError as error:
        if options.dimensions is None:
            raise
        note(f"{error}; taking your word for {options.dimensions} dimensions")
        return None


def _full_name(model: str, provider: Providers | None) -> str:
    if provider is None:
        return model
    separator = "/" if provider is Providers.SENTENCE_TRANSFORMERS else ":"
    prefix = provider.value + separator
    return model if model.startswith(prefix) else prefix + model


def _chunking(
    tokens: int | None, overlap: int | None, markdown: bool | None, whole: bool
) -> Chunking | None:
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


def _print_statements(spec: IndexSpec, source: SourceTable, space: str | None) -> None:
    for statement in ddl.create_statements(spec, space=space, partitioned=source.partitioned):
        typer.echo(statement + "\n")
    typer.echo("-- A worker embeds the rows that exist, and builds the vector index after them.")
