"""``embedsql reembed``: another model for an index, made beside the one that serves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from embedsql.choices import Backend, Chunking, LexicalIndex
from embedsql.cli.logs import configure_logging
from embedsql.cli.model_options import model_space
from embedsql.cli.options import (
    DatabaseUrl,
    IndexName,
    Json,
    conninfo,
    note,
    openai_key,
    print_json,
)
from embedsql.embedders import options_of
from embedsql.errors import ModelChangeError
from embedsql.evaluate import JudgedQuery, read_judged_queries
from embedsql.reembed import Comparison, ModelChange
from embedsql.spec import IndexSpec
from embedsql.vectors import Quantization, Stored
from embedsql.worker import WorkerOptions


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("reembed", no_args_is_help=True)(reembed)


def reembed(
    index: IndexName,
    model: Annotated[str | None, typer.Option(help="The new embedding model, by name.")] = None,
    dimensions: Annotated[int | None, typer.Option(min=1, help="Default: the model's own.")] = None,
    backend: Annotated[Backend | None, typer.Option(help="Runtime of a local model.")] = None,
    base_url: Annotated[str | None, typer.Option(help="URL of an openai: model's server.")] = None,
    query_prompt: Annotated[str | None, typer.Option(help="Default: the model's own.")] = None,
    document_prompt: Annotated[str | None, typer.Option(help="Default: the model's own.")] = None,
    sparse_model: Annotated[
        str | None, typer.Option(help="A sparse encoder for the lexical lane; empty: BM25.")
    ] = None,
    lexical_index: Annotated[
        LexicalIndex | None, typer.Option(help="What serves the lexical lane.")
    ] = None,
    quantization: Annotated[
        Quantization | None, typer.Option(help="Form of the indexed vectors.")
    ] = None,
    stored: Annotated[Stored | None, typer.Option(help="Type of the stored vectors.")] = None,
    index_dimensions: Annotated[
        int | None, typer.Option(min=1, help="Index this many leading dimensions.")
    ] = None,
    vector_column: Annotated[
        str | None, typer.Option(help="A new column, if vectors are stored in the source.")
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option("--text", help="A text column; may be repeated.")
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="Text to embed for each chunk; empty: no template.")
    ] = None,
    chunk_tokens: Annotated[int | None, typer.Option(help="Maximum tokens in a chunk.")] = None,
    chunk_overlap: Annotated[
        int | None, typer.Option(help="Tokens that neighbouring chunks share.")
    ] = None,
    no_chunking: Annotated[bool, typer.Option("--no-chunking", help="One vector per row.")] = False,
    switch: Annotated[
        bool,
        typer.Option("--switch/--no-switch", help="Switch to the new generation when it is ready."),
    ] = True,
    compare: Annotated[
        bool, typer.Option("--compare/--no-compare", help="Compare it with the serving generation.")
    ] = True,
    queries: Annotated[
        Path | None, typer.Option(help="Judge both generations on these, as eval does.")
    ] = None,
    qrels: Annotated[Path | None, typer.Option(help="The judgements of --queries.")] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Switch back to the previous generation.")
    ] = False,
    finish: Annotated[bool, typer.Option("--finish", help="Drop the previous generation.")] = False,
    abort: Annotated[
        bool, typer.Option("--abort", help="Drop the new generation instead.")
    ] = False,
    show_status: Annotated[
        bool, typer.Option("--status", help="Show how far the change has come.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Switch even if rows are dead letters or it was judged worse."
        ),
    ] = False,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for a moment when a switch loses no row.")
    ] = 60,
    as_json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Embed an index again with another model or declaration, beside the serving one, then switch.

    Run it again to go on where it was interrupted. Searches are served all the while. The previous
    generation is kept up to date for a rollback until --finish drops it.
    """
    if sum((rollback, finish, abort, show_status)) > 1:
        raise typer.BadParameter("give only one of --rollback, --finish, --abort, --status")
    if (queries is None) != (qrels is None):
        raise typer.BadParameter("--queries and --qrels go together", param_hint="--queries")
    configure_logging(retries=False)
    judged = read_judged_queries(queries, qrels) if queries and qrels else []
    options = WorkerOptions(api_key=openai_key())
    with ModelChange(conninfo(database_url), index, options) as change:
        if rollback:
            change.rollback(force=force, patience=patience)
        elif finish:
            change.finish()
        elif abort:
            change.abort()
        elif not show_status:
            chunking = _chunking(chunk_tokens, chunk_overlap, no_chunking)
            given: dict[str, Any] = {
                "model": model,
                "dimensions": dimensions,
                "backend": backend,
                "base_url": base_url,
                "query_prompt": query_prompt,
                "document_prompt": document_prompt,
                "sparse_model": sparse_model,
                "lexical_index": lexical_index,
                "quantization": quantization,
                "stored": stored,
                "index_dimensions": index_dimensions,
                "vector_column": vector_column,
                "text": tuple(text) if text else None,
                "template": template,
            }
            changed = {name: value for name, value in given.items() if value is not None}
            if _begin(change, changed | chunking):
                _carry_on(change, judged, compare, switch, force, patience)
        document = change.status()
    if as_json:
        print_json(document)
    else:
        _say(document)


def _begin(change: ModelChange, changed: dict[str, Any]) -> bool:
    """Make the next generation, or take the one that is under way.

    Returns:
        Whether there is something left to do: not where the switch is behind us.
    """
    both = change.generations
    if not changed:
        if both.next is None and both.previous is not None:
            return False
        both.require_next()
        return True
    base = both.serving.spec
    for name in {"template", "sparse_model"} & changed.keys():
        changed[name] = changed[name] or None
    if changed.get("model", base.model) != base.model:  # these belonged to the old model
        base = replace(
            base, backend="torch", base_url=None, query_prompt=None, document_prompt=None
        )
    spec = replace(base, **changed)
    space, spec = _with_space(spec, asked=changed.get("dimensions"), was=both.serving.spec)
    if both.next is None and both.previous is not None and spec == both.serving.spec:
        return False
    if both.next is None:
        note(f"{spec.name}: making generation {both.last + 1}, {spec.model} ({spec.vector_type})")
    change.begin(spec, space)
    return True


def _with_space(
    spec: IndexSpec, *, asked: int | None, was: IndexSpec
) -> tuple[str | None, IndexSpec]:
    """Load the model: its space's label, and the declaration with its dimensions."""
    kept = was.dimensions if spec.model == was.model else None
    found = model_space(
        spec.model,
        replace(options_of(spec), dimensions=asked or kept),
    )
    if found is None:
        return None, spec
    return found.label, replace(spec, dimensions=found.dimensions)


def _carry_on(
    change: ModelChange,
    judged: list[JudgedQuery],
    compare: bool,
    switch: bool,
    force: bool,
    patience: float,
) -> None:
    change.fill()
    if compare:
        comparison = change.compare(judged)
        _say_comparison(comparison)
        if switch and comparison.is_worse and not force:
            raise ModelChangeError(
                "not switched: by the judgements the serving generation is better; --force "
                "switches anyway, --abort drops the new one"
            )
    else:
        change.accept()
    if switch:
        change.switch(force=force, patience=patience)


def _chunking(tokens: int | None, overlap: int | None, whole: bool) -> dict[str, Chunking | None]:
    if whole and (tokens, overlap) != (None, None):
        raise typer.BadParameter(
            "excludes --chunk-tokens and --chunk-overlap", param_hint="--no-chunking"
        )
    if whole:
        return {"chunking": None}
    return {} if (tokens, overlap) == (None, None) else {"chunking": Chunking(tokens, overlap)}


def _say_comparison(found: Comparison) -> None:
    note(f"overlap@10 with the serving generation: {found.overlap:.3f} ({found.queries} queries)")
    if found.serving and found.next:
        note(f"nDCG@10: {found.next.ndcg_at_10:.4f}, serving {found.serving.ndcg_at_10:.4f}")


def _say(document: dict[str, Any]) -> None:
    serving = document["serving"]
    typer.echo(
        f"{document['index']}: generation {serving['generation']} serves, {serving['model']} "
        f"({serving['vector']})"
    )
    for part in (document["next"], document["previous"], *document["dropping"]):
        if part is None:
            continue
        typer.echo(
            f"generation {part['generation']} is {part['state']}, {part['model']} "
            f"({part['vector']}): {part['chunks']} chunks, {part['pending'] + part['leased']} rows "
            f"pending, {part['dead']} dead"
        )
        if part["problem"]:
            typer.echo(f"left alone: {part['problem']}")
