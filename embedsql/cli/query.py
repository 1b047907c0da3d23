"""``embedsql search | eval``: ask an index, and judge its answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from embedsql.cli.options import (
    DatabaseUrl,
    IndexName,
    Json,
    conninfo,
    console,
    print_json,
)
from embedsql.evaluate import DEPTH, evaluate, read_judged_queries
from embedsql.registered import Found, RegisteredSearch
from embedsql.search import Mode
from embedsql.settings import Settings

SearchMode = Annotated[Mode, typer.Option("--mode", help="Which lanes.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("search", no_args_is_help=True)(search)
    app.command("eval", no_args_is_help=True)(evaluate_index)


def search(
    index: IndexName,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What you look for.")],
    limit: Annotated[int, typer.Option("-k", "--limit", min=1, max=1000, help="Most rows.")] = 10,
    mode: SearchMode = "hybrid",
    where: Annotated[
        str | None, typer.Option(help="An SQL condition on the source's columns.")
    ] = None,
    as_json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Find the rows nearest in meaning and words."""
    with _open(index, database_url) as searcher:
        found = searcher.search(query, mode=mode, limit=limit, where=where)
    if as_json:
        print_json({"index": index, "query": query, "mode": mode, **_document(found)})
        return
    table = Table("#", "key", "score", "dense", "cosine", "lexical", "snippet", box=None)
    for place, (key, hit) in enumerate(found.hits, 1):
        table.add_row(
            str(place),
            str(key),
            f"{hit.score:.4f}",
            _number(hit.dense_rank),
            "" if hit.similarity is None else f"{hit.similarity:.3f}",
            _number(hit.lexical_rank),
            " ".join(hit.snippet.split())[:100],
        )
    console.print(table)


def evaluate_index(
    index: IndexName,
    queries: Annotated[Path, typer.Option(help='JSON lines {"id": …, "text": …}.')],
    qrels: Annotated[Path, typer.Option(help="query_id <tab> doc_id <tab> relevance.")],
    mode: SearchMode = "hybrid",
    as_json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Judge an index on queries whose right answers are known."""
    judged = read_judged_queries(queries, qrels)
    with _open(index, database_url) as searcher:

        def ranking(text: str) -> Sequence[tuple[str, float]]:
            found = searcher.search(text, mode=mode, limit=DEPTH)
            return [(_document_id(key), hit.score) for key, hit in found.hits]

        searcher.warm_up(mode)
        result = evaluate(judged, ranking)
    if as_json:
        print_json({"index": index, "mode": mode, **result.to_json()})
        return
    typer.echo(f"{index}, {mode}, {result.queries} queries")
    typer.echo(
        f"nDCG@10 {result.ndcg_at_10:.4f}   Recall@100 {result.recall_at_100:.4f}   "
        f"MRR@10 {result.mrr_at_10:.4f}   p50 {result.p50:.1f} ms   p95 {result.p95:.1f} ms"
    )


def _open(index: str, database_url: str | None) -> RegisteredSearch:
    key = Settings().openai_api_key
    return RegisteredSearch(
        conninfo(database_url), index, api_key=key.get_secret_value() if key else None
    )


def _document(found: Found) -> dict[str, Any]:
    return {
        "strategy": found.strategy,
        "complete": found.complete,
        "hits": [
            {
                "key": key,
                "score": hit.score,
                "dense": None
                if hit.dense_rank is None
                else {"rank": hit.dense_rank, "similarity": hit.similarity},
                "lexical": None
                if hit.lexical_rank is None
                else {"rank": hit.lexical_rank, "bm25": hit.bm25},
                "snippet": hit.snippet,
            }
            for key, hit in found.hits
        ],
    }


def _document_id(key: Any) -> str:
    return "\t".join(map(str, key.values())) if isinstance(key, dict) else str(key)


def _number(value: int | None) -> str:
    return "" if value is None else str(value)
