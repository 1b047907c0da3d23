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
        typer.Option(help="Text to embed for each chunk, for example '{title}: {chunk}'."),
    ] = None,
    model: Annotated[str, typer.Option(help="The embedding model, by name.")] = DEFAULT_MODEL,
    provider: Annotated[
        Providers | None, typer.Option(help="Provider of a model named without a prefix.")
    ] = None,
    backend: Annotated[
        Backend,
        typer.Option(help="Runtime of a local model; all but torch use int8 weights."),
    ] = "torch",
    base_url: Annotated[str | None, typer.Option(help="URL of an openai: model's server.")] = None,
    dimensions: Annotated[int | None, typer.Option(help="Default: the model's own.")] = None,
    metric: Annotated[Metric, typer.Option(help="How vectors are compared.")] = "cosine",
    storage: Annotated[
        Storage,
        typer.Option(help="Keep vectors in a table, or in a column of the source (unchunked)."),
    ] = "table",
    vector_column: Annotated[str, typer.Option(help="Name of that column.")] = "embedding",
    quantization: Annotated[
        Quantization,
        typer.Option(help="Form of the indexed vectors; int8: bits, with int8 codes stored."),
    ] = "none",
    stored: Annotated[
        Stored | None, typer.Option(help="Type of the stored vectors. Default: by quantization.")
    ] = None,
    index_dimensions: Annotated[
        int | None, typer.Option(help="Index only this many leading dimensions (Matryoshka).")
    ] = None,
    index: Annotated[
        VectorIndex, typer.Option(help="Kind of approximate index; none: exact search.")
    ] = "hnsw",
    hnsw_m: Annotated[int, typer.Option(help="Links per node of an HNSW index.")] = Hnsw.m,
    ef_construction: Annotated[
        int, typer.Option(help="Length of the candidate list while an HNSW index is built.")
    ] = Hnsw.ef_construction,
    lists: Annotated[
        int | None, typer.Option(help="Lists of an IVFFlat index. Default: by the number of rows.")
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
        typer.Option(help="gin: exact; hnsw: approximate for common words, for millions of rows."),
    ] = "gin",
    sparse_model: Annotated[
        str | None,
        typer.Option(help="A sparse encoder (SPLADE) in place of BM25."),
    ] = None,
    heading_weight: Annotated[
        float,
        typer.Option(min=1, max=10, help="How many times a word in a title or heading counts."),
    ] = 3.0,
    chunk_tokens: Annotated[
        int | None, typer.Option(help="Maximum tokens in a chunk. Default: 192.")
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
        bool,
        typer.Option("--no-chunking", help="One vector per row, of as much as the model reads."),
    ] = False,
    query_prompt: Annotated[str | None, typer.Option(help="Default: the model's own.")] = None,
    document_prompt: Annotated[str | None, typer.Option(help="Default: the model's own.")] = None,
    replicated: Annotated[
        bool, typer.Option("--replicated", help="Logical replication writes the table.")
    ] = False,
    database_url: DatabaseUrl = None,
    print_sql: PrintSql = False,
) -> None:
    """Create a semantic index on an existing table; a worker then embeds its rows."""
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
    """Drop a semantic index and all that it created; the source table is left as it is."""
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
