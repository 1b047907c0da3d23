"""``embedsql eval``: judge an index's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embedsql.cli.options import (
    DatabaseUrl,
    IndexName,
    Json,
    print_json,
)
from embedsql.cli.search import SearchMode, open_search
from embedsql.evaluate import judge_search, read_judged_queries


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("eval", no_args_is_help=True)(evaluate_index)


def evaluate_index(
    index: IndexName,
    queries: Annotated[Path, typer.Option(help='JSON lines {"id": …, "text": …}.')],
    qrels: Annotated[Path, typer.Option(help="query_id <tab> doc_id <tab> relevance.")],
    mode: SearchMode = None,
    as_json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Measure the ranking quality of an index on judged queries."""
    judged = read_judged_queries(queries, qrels)
    with open_search(index, database_url) as searcher:
        mode = mode or searcher.best_mode
        result = judge_search(searcher, judged, mode)
    if as_json:
        print_json({"index": index, "mode": mode, **result.to_json()})
        return
    typer.echo(f"{index}, {mode}, {result.queries} queries")
    typer.echo(
        f"nDCG@10 {result.ndcg_at_10:.4f}   Recall@100 {result.recall_at_100:.4f}   "
        f"MRR@10 {result.mrr_at_10:.4f}   p50 {result.p50:.1f} ms   p95 {result.p95:.1f} ms"
    )
