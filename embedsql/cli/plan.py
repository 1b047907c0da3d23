"""``embedsql plan``: what an index will cost, before it is made."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import psycopg
import typer
from rich.table import Table

from embedsql.catalog import check_text_columns, describe_source
from embedsql.choices import Backend, LexicalIndex, Storage
from embedsql.cli.model_options import Providers, chunking_of, full_name
from embedsql.cli.options import (
    DatabaseUrl,
    Json,
    conninfo,
    console,
    note,
    openai_key,
    print_json,
    print_table,
)
from embedsql.database import connect
from embedsql.embedders import Embedder, load_embedder, options_of
from embedsql.errors import ProviderError
from embedsql.installation import require_installed
from embedsql.plan import Plan, Variant, make_plan
from embedsql.registry import find_index
from embedsql.spec import DEFAULT_MODEL, IndexSpec
from embedsql.vectors import Hnsw, Ivfflat, Quantization, Stored, VectorIndex


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("plan", no_args_is_help=True)(plan)


def plan(
    table: Annotated[
        str,
        typer.Argument(
            metavar="TABLE",
            help="As for embedsql add; without --text, an index, to be embedded again.",
        ),
    ],
    text: Annotated[
        list[str] | None, typer.Option("--text", help="A text column; may be repeated.")
    ] = None,
    template: Annotated[str | None, typer.Option(help="As for embedsql add.")] = None,
    model: Annotated[
        str | None, typer.Option(help="The embedding model, by name. Default: as for embedsql add.")
    ] = None,
    provider: Annotated[
        Providers | None, typer.Option(help="Provider of a model named without a prefix.")
    ] = None,
    backend: Annotated[Backend, typer.Option(help="Runtime of a local model.")] = "torch",
    base_url: Annotated[str | None, typer.Option(help="URL of an openai: model's server.")] = None,
    dimensions: Annotated[int | None, typer.Option(help="Default: the model's own.")] = None,
    storage: Annotated[Storage, typer.Option(help="As for embedsql add.")] = "table",
    quantization: Annotated[
        Quantization, typer.Option(help="Marked in the output, which compares them all.")
    ] = "none",
    stored: Annotated[Stored | None, typer.Option(help="Type of the stored vectors.")] = None,
    index_dimensions: Annotated[
        int | None, typer.Option(help="Index only this many leading dimensions (Matryoshka).")
    ] = None,
    index: Annotated[
        VectorIndex, typer.Option(help="Kind of approximate index; none: exact search.")
    ] = "hnsw",
    hnsw_m: Annotated[int, typer.Option(help="Links per node of an HNSW index.")] = Hnsw.m,
    lists: Annotated[int | None, typer.Option(help="Lists of an IVFFlat index.")] = None,
    lexical: Annotated[str, typer.Option(help="Text-search configuration, or none.")] = "english",
    lexical_index: Annotated[LexicalIndex, typer.Option(help="As for embedsql add.")] = "gin",
    sparse_model: Annotated[str | None, typer.Option(help="As for embedsql add.")] = None,
    chunk_tokens: Annotated[int | None, typer.Option(help="Maximum tokens in a chunk.")] = None,
    chunk_overlap: Annotated[int | None, typer.Option(help="Tokens that neighbours share.")] = None,
    markdown: Annotated[
        bool | None, typer.Option("--markdown/--no-markdown", help="As for embedsql add.")
    ] = None,
    no_chunking: Annotated[bool, typer.Option("--no-chunking", help="One vector per row.")] = False,
    sample: Annotated[int, typer.Option(min=1, max=100_000, help="Rows to sample.")] = 500,
    rows_per_second: Annotated[
        float | None,
        typer.Option(min=0.001, help="Speed, if known. Default: measured here, of a local model."),
    ] = None,
    as_json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Predict chunks, tokens, minutes, disk and memory of an index before it is created.

    Rows are counted, a sample of them is cut into chunks by the model's own tokenizer and written
    to a temporary table that is rolled back. The minutes are those of one worker on this machine.
    """
    if not text:
        _plan_existing(
            table, model, provider, dimensions, sample, rows_per_second, as_json, database_url
        )
        return
    whole = no_chunking or (
        storage == "column" and (chunk_tokens, chunk_overlap, markdown) == (None, None, None)
    )
    with connect(conninfo(database_url)) as connection:
        source = describe_source(connection, table)
        check_text_columns(source, tuple(text))
        spec = IndexSpec(
            name=f"{source.name}_search",
            table=source.name,
            schema=source.schema,
            key=source.key,
            text=tuple(text),
            template=template,
            # replaced by the model's own, once it is known
            dimensions=dimensions or (index_dimensions or 0) + 1,
            model=full_name(model or DEFAULT_MODEL, provider),
            backend=backend,
            base_url=base_url,
            storage=storage,
            quantization=quantization,
            stored=stored,
            index_dimensions=index_dimensions,
            index=index,
            hnsw=Hnsw(hnsw_m, max(Hnsw.ef_construction, 2 * hnsw_m)),
            ivfflat=Ivfflat(lists),
            lexical=None if lexical == "none" else lexical,
            lexical_index=lexical_index,
            sparse_model=sparse_model,
            chunking=chunking_of(chunk_tokens, chunk_overlap, markdown, whole),
        )
        _say(*_make(connection, spec, dimensions, sample, rows_per_second), as_json)


def _plan_existing(
    index: str,
    model: str | None,
    provider: Providers | None,
    dimensions: int | None,
    sample: int,
    rows_per_second: float | None,
    as_json: bool,
    database_url: str | None,
) -> None:
    with connect(conninfo(database_url)) as connection:
        require_installed(connection)
        spec = find_index(connection, index).spec
        known: int | None = spec.dimensions
        if model is not None:
            known = dimensions
            spec = replace(spec, model=full_name(model, provider), dimensions=dimensions or 1)
        _say(*_make(connection, spec, known, sample, rows_per_second), as_json)


def _make(
    connection: psycopg.Connection,
    spec: IndexSpec,
    dimensions: int | None,
    sample: int,
    rows_per_second: float | None,
) -> tuple[IndexSpec, Plan]:
    embedder = _embedder(spec, dimensions)
    if embedder is not None:
        spec = replace(spec, dimensions=embedder.space.dimensions)
    made = make_plan(connection, spec, embedder, sample=sample, rows_per_second=rows_per_second)
    return spec, made


def _embedder(spec: IndexSpec, dimensions: int | None) -> Embedder | None:
    """The model; ``None`` where its server is away but the dimensions were given."""
    options = options_of(spec, api_key=openai_key())
    try:
        return load_embedder(spec.model, replace(options, dimensions=dimensions))
    except ProviderError as error:
        if dimensions is None:
            raise
        note(f"{error}; taking your word for {dimensions} dimensions, and guessing tokens")
        return None


def _say(spec: IndexSpec, plan: Plan, as_json: bool) -> None:
    if as_json:
        asked = {"table": spec.table, "model": spec.model, "dimensions": spec.dimensions}
        print_json({**asked, **plan.to_json()})
        return
    typer.echo(f"{plan.rows:,} rows, {plan.blank:,} of them blank, {plan.truncated:,} truncated")
    typer.echo(
        f"{plan.chunks:,} chunks of {spec.dimensions} dimensions, {plan.tokens:,} tokens "
        f"(from {plan.sampled:,} rows)"
    )
    if plan.minutes is None:
        typer.echo("time: not known; give --rows-per-second")
    else:
        typer.echo(f"{plan.minutes:,.1f} minutes at {plan.rows_per_second:,.1f} rows/s")
    table = Table("", "quantization", "chunks", spec.index, "other", "total", "build in", box=None)
    for variant in plan.variants:
        table.add_row(*_cells(variant))
    print_table(table)
    for variant in plan.variants:
        if variant.impossible:
            console.print(f"{variant.quantization}: {variant.impossible}")


def _cells(variant: Variant) -> list[Any]:
    mark = "*" if variant.declared else ""
    if variant.impossible:
        return [mark, variant.quantization, "not possible"]
    sizes = (
        variant.heap_bytes,
        variant.index_bytes,
        variant.other_bytes,
        variant.total_bytes,
        variant.build_memory_bytes,
    )
    return [mark, variant.quantization, *(f"{size / 1e6:,.1f} MB" for size in sizes)]
