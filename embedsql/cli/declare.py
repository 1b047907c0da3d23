"""``embedsql add | drop``: a semantic index comes and goes."""

from __future__ import annotations

from typing import Annotated

import psycopg
import typer

from embedsql import schema
from embedsql.catalog import SourceTable, describe_source
from embedsql.choices import Backend, LexicalIndex, Storage
from embedsql.cli.logs import configure_logging
from embedsql.cli.model_options import Providers, chunking_of, full_name, model_space
from embedsql.cli.options import DatabaseUrl, IndexName, PrintSql, conninfo, note
from embedsql.database import connect
from embedsql.declare import (
    check_declaration,
    create_index,
    create_statements,
    drop_index,
    drop_index_statements,
)
from embedsql.embedders import EmbedderOptions
from embedsql.installation import install, installed_version
from embedsql.spec import DEFAULT_MODEL, IndexSpec
from embedsql.vectors import Hnsw, Ivfflat, Metric, Quantization, Stored, VectorIndex


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("add", no_args_is_help=True)(add)
    app.command("drop", no_args_is_help=True)(drop)


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
        Backend,
        typer.Option(help="What runs a local model; all but torch do so on int8 weights."),
    ] = "torch",
    base_url: Annotated[str | None, typer.Option(help="Server of an openai: model.")] = None,
    dimensions: Annotated[int | None, typer.Option(help="Default: the model's own.")] = None,
    metric: Annotated[Metric, typer.Option(help="By which vectors are compared.")] = "cosine",
    storage: Annotated[
        Storage, typer.Option(help="A table of vectors, or a column of the source (no chunks).")
    ] = "table",
    vector_column: Annotated[str, typer.Option(help="That column's name.")] = "embedding",
    quantization: Annotated[
        Quantization, typer.Option(help="Of the indexed vectors; int8: bits, over stored codes.")
    ] = "none",
    stored: Annotated[
        Stored | None, typer.Option(help="Type of the stored vectors. Default: by quantization.")
    ] = None,
    index_dimensions: Annotated[
        int | None, typer.Option(help="Leading dimensions that the index sees (Matryoshka).")
    ] = None,
    index: Annotated[VectorIndex, typer.Option(help="The approximate index.")] = "hnsw",
    hnsw_m: Annotated[int, typer.Option(help="Links of a node of an HNSW index.")] = Hnsw.m,
    ef_construction: Annotated[
        int, typer.Option(help="Candidates kept while an HNSW index is built.")
    ] = Hnsw.ef_construction,
    lists: Annotated[
        int | None, typer.Option(help="Of an IVFFlat index. Default: by the number of rows.")
    ] = None,
    lexical: Annotated[
        str, typer.Option(help="Text-search configuration of the lexical lane, or none.")
    ] = "english",
    lexical_column: Annotated[
        str | None,
        typer.Option(help="A column that names each row's own text-search configuration."),
    ] = None,
    lexical_index: Annotated[
        LexicalIndex,
        typer.Option(help="gin: exact; hnsw: approximate where words are common, for millions."),
    ] = "gin",
    sparse_model: Annotated[
        str | None,
        typer.Option(help="A sparse encoder (SPLADE), whose terms stand in place of BM25's."),
    ] = None,
    heading_weight: Annotated[
        float, typer.Option(min=1, max=10, help="How often a word of a title or heading counts.")
    ] = 3.0,
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
    whole = no_chunking or (
        storage == "column" and (chunk_tokens, chunk_overlap, markdown) == (None, None, None)
    )
    chunking = chunking_of(chunk_tokens, chunk_overlap, markdown, whole)
    if dimensions is not None and dimensions < 1:
        raise typer.BadParameter("must be at least 1", param_hint="--dimensions")
    full_model = full_name(model, provider)
    configure_logging(retries=False)  # making int8 weights takes a minute: say so
    with connect(conninfo(database_url)) as connection:
        source = describe_source(connection, table)
        embedding = EmbedderOptions(
            dimensions=dimensions,
            backend=backend,
            base_url=base_url,
            query_prompt=query_prompt,
            document_prompt=document_prompt,
            sparse_model=sparse_model,
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
                backend=backend,
                base_url=base_url,
                query_prompt=query_prompt,
                document_prompt=document_prompt,
                metric=metric,
                storage=storage,
                vector_column=vector_column,
                quantization=quantization,
                stored=stored,
                index_dimensions=index_dimensions,
                index=index,
                hnsw=Hnsw(hnsw_m, ef_construction),
                ivfflat=Ivfflat(lists),
                lexical=None if lexical == "none" else lexical,
                lexical_column=lexical_column,
                lexical_index=lexical_index,
                sparse_model=sparse_model,
                heading_weight=heading_weight,
                chunking=chunking,
                replicated=replicated,
            )

        # all that costs nothing is checked before a model is loaded
        check_declaration(connection, declared(dimensions or (index_dimensions or 0) + 1), source)
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


def _print_statements(spec: IndexSpec, source: SourceTable, space: str | None) -> None:
    for statement in create_statements(spec, space=space, partitioned=source.partitioned):
        typer.echo(statement + "\n")
    typer.echo("-- A worker embeds the rows that exist, and builds the vector index after them.")
