"""``embedsql search``: ask an index; explained and reranked where that is asked for."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from embedsql.cli.options import (
    DatabaseUrl,
    IndexName,
    Json,
    conninfo,
    console,
    note,
    openai_key,
    print_json,
    print_table,
)
from embedsql.explain import Explanation, HitExplanation, RowExplanation
from embedsql.registered import Found, RegisteredSearch
from embedsql.rerank import Reranker, cross_encoder, endpoint
from embedsql.search import Hit, Mode
from embedsql.settings import Settings

SearchMode = Annotated[
    Mode | None,
    typer.Option(
        "--mode",
        help="Which lanes to search. Default: hybrid; dense if the index has no lexical lane.",
        show_default=False,
    ),
]
ENDPOINT = "endpoint:"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("search", no_args_is_help=True)(search)


def search(
    index: IndexName,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="A question, or words.")],
    limit: Annotated[
        int, typer.Option("-k", "--limit", min=1, max=1000, help="Maximum rows.")
    ] = 10,
    mode: SearchMode = None,
    where: Annotated[
        list[str] | None,
        typer.Option(help="An SQL condition on the source's columns; may be given several times."),
    ] = None,
    rerank: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="A cross-encoder, or endpoint:MODEL (with --rerank-url)."
        ),
    ] = None,
    rerank_url: Annotated[
        str | None, typer.Option(help="URL of a rerank endpoint; key in EMBEDSQL_RERANK_API_KEY.")
    ] = None,
    rerank_top: Annotated[
        int, typer.Option(min=1, max=1000, help="Rows that the reranker reads, best first.")
    ] = 50,
    rerank_budget: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds that reranking may take.")
    ] = None,
    rerank_blend: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of its score in the final one. Default: all."),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Explain each hit's score.")] = False,
    why_not: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Explain why this row is not found; a key of several columns as JSON.",
        ),
    ] = None,
    as_json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Find the rows nearest in meaning and words."""
    reranker = _reranker(rerank, rerank_url)
    explained = None
    with open_search(index, database_url) as searcher:
        found = searcher.search(
            query,
            mode=mode,
            limit=limit,
            where=where,
            rerank=reranker,
            top=rerank_top,
            budget=rerank_budget,
            blend=rerank_blend,
        )
        if explain or why_not is not None:
            explained = searcher.explain(
                query,
                key=None if why_not is None else _key(why_not),
                mode=mode if found.words_only is None else "lexical",
                limit=limit if reranker is None else max(limit, rerank_top),
                where=where,
            )
    if found.words_only is not None:
        note(f"embedsql: searched for words only: {found.words_only}")
    if as_json:
        document = {"index": index, "query": query, **_document(found)}
        print_json(document if explained is None else _with(document, explained, hits=explain))
        return
    if explained is not None and explained.row is not None:
        _say_row(explained.row)
        if not explain:
            return
    _say_hits(found, explained if explain else None)


def open_search(index: str, database_url: str | None) -> RegisteredSearch:
    """The index called ``index``, to be searched."""
    return RegisteredSearch(conninfo(database_url), index, api_key=openai_key())


def _reranker(model: str | None, url: str | None) -> Reranker | None:
    if model is None:
        if url is not None:
            raise typer.BadParameter("--rerank-url needs --rerank endpoint:MODEL")
        return None
    if not model.startswith(ENDPOINT):
        return cross_encoder(model)
    if url is None:
        raise typer.BadParameter("--rerank endpoint:MODEL needs --rerank-url")
    key = Settings().rerank_api_key
    secret = None if key is None else key.get_secret_value()
    return endpoint(url, model.removeprefix(ENDPOINT), api_key=secret)


def _key(given: str) -> Any:
    if given.startswith("{"):
        try:
            return json.loads(given)
        except ValueError as error:
            raise typer.BadParameter(f"--why-not is not a JSON object: {error}") from error
    return given


def _document(found: Found) -> dict[str, Any]:
    return {
        "mode": found.mode,
        "strategy": found.strategy,
        "complete": found.complete,
        "words_only": found.words_only,
        "reranked": found.reranked,
        "rerank_why_not": found.why_not,
        "hits": [_hit_document(key, hit) for key, hit in found.hits],
    }


def _hit_document(key: Any, hit: Hit) -> dict[str, Any]:
    dense = {"rank": hit.dense_rank, "similarity": hit.similarity}
    lexical = {"rank": hit.lexical_rank, "bm25": hit.bm25}
    return {
        "key": key,
        "score": hit.score,
        "support": hit.support,
        "dense": None if hit.dense_rank is None else dense,
        "lexical": None if hit.lexical_rank is None else lexical,
        "rerank": hit.rerank_score,
        "pending": hit.pending,
        "snippet": hit.snippet,
    }


def _with(document: dict[str, Any], explained: Explanation, *, hits: bool) -> dict[str, Any]:
    said = explained.to_json()
    row, of_hits = said.pop("row"), said.pop("hits")
    if row is not None:
        document["why_not"] = row
    if hits:
        by_key = {str(one["key"]): one for one in of_hits}
        document["explain"] = said
        for hit in document["hits"]:
            hit["explain"] = by_key.get(str(hit["key"]))
    return document


def _say_hits(found: Found, explained: Explanation | None) -> None:
    if found.why_not is not None:
        console.print(f"not reranked: {found.why_not}")
    reranked = ["rerank"] if found.reranked else []
    titles = ("#", "key", "score", *reranked, "dense", "cosine", "lexical", "snippet")
    table = Table(*(Column(title, overflow="fold") for title in titles), box=None)
    for place, (key, hit) in enumerate(found.hits, 1):
        table.add_row(
            str(place),
            str(key),
            f"{hit.score:.4f}",
            *([_figure(hit.rerank_score, 4)] if reranked else []),
            _figure(hit.dense_rank, 0),
            _figure(hit.similarity, 3),
            _figure(hit.lexical_rank, 0),
            " ".join(hit.snippet.split())[:100],
        )
    print_table(table, fits=True)
    if not found.hits:
        note("nothing was found; embedsql status says whether rows wait to be embedded")
    if explained is not None:
        _say_explained(explained)


def _say_explained(explained: Explanation) -> None:
    said = f"\n{explained.mode}, nearest by {explained.strategy}" if explained.strategy else "\n"
    if explained.similarity_mean is not None:
        said += (
            f"; two passages at random have similarity {explained.similarity_mean:.3f} "
            f"± {explained.similarity_deviation:.3f}"
        )
    console.print(said)
    for hit in explained.hits:
        console.print(f"{hit.place}. {hit.key}: {hit.says}")
        if hit.terms:
            console.print(_terms_table(hit))


def _terms_table(hit: HitExplanation) -> Table:
    table = Table("", "word", "idf", "weight", "score", box=None, padding=(0, 2))
    for term in hit.terms:
        figures = (f"{value:.3f}" for value in (term.idf, term.weight, term.score))
        table.add_row("", term.term, *figures)
    return table


def _say_row(row: RowExplanation) -> None:
    place = f"in place {row.place}" if row.place is not None else "not among the candidates"
    console.print(f"{row.key}: {'shown, ' if row.shown else 'not shown, '}{place}")
    for name, lane in (("meaning", row.dense), ("words", row.lexical)):
        if lane is not None:
            console.print(f"  by {name}: rank {lane.rank}, {lane.value:.3f}")
    for reason in row.reasons:
        console.print(f"  {reason.code}: {reason.says}")


def _figure(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
