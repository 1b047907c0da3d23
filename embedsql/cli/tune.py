"""``embedsql tune``: measured settings, the cheapest that finds enough."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import psycopg
import typer
from rich.table import Table

from embedsql.cli.options import (
    DatabaseUrl,
    IndexName,
    Json,
    note,
    open_database,
    print_json,
    print_table,
)
from embedsql.cli.search import open_search
from embedsql.evaluate import read_judged_queries
from embedsql.registry import find_index
from embedsql.search import SearchTuning
from embedsql.sqlsearch import function_statements
from embedsql.stored_tuning import store_tuning
from embedsql.tune import Tuned, changed_fields, literal
from embedsql.tune import tune as tune_index
from embedsql.tune.lexical import EXACT

TARGET_MISSED = 3


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("tune", no_args_is_help=True)(tune)


def tune(
    index: IndexName,
    queries: Annotated[
        Path | None, typer.Option(help='Judged queries, JSON lines {"id": …, "text": …}.')
    ] = None,
    qrels: Annotated[
        Path | None, typer.Option(help="query_id <tab> doc_id <tab> relevance.")
    ] = None,
    sample: Annotated[
        int, typer.Option(min=2, max=5000, help="Stored rows, or judged queries, to ask.")
    ] = 200,
    target_recall: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Recall@10 against exact search to reach.")
    ] = 0.95,
    save: Annotated[
        bool, typer.Option("--save", help="Keep the proposal: searches by name use it from now on.")
    ] = False,
    as_json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Measure recall and latency at several settings, and propose the cheapest that is good enough.

    The questions are stored rows, or judged queries if they are given; from those the weight of the
    lexical lane is learnt, too. One half chooses the setting, the other half judges it. Exit code 3
    if no setting reaches the target.
    """
    if (queries is None) != (qrels is None):
        raise typer.BadParameter("--queries and --qrels go together", param_hint="--queries")
    judged = read_judged_queries(queries, qrels) if queries and qrels else []
    with (
        open_database(database_url) as connection,
        open_search(index, database_url) as search,
    ):
        tuned = tune_index(
            connection, search, index, judged=judged, sample=sample, target=target_recall
        )
        saved = save and tuned.proposal is not None
        if saved and tuned.proposal is not None:
            _keep(connection, index, tuned.proposal)
    if as_json:
        asked = {"index": index, "target_recall": target_recall}
        print_json({**asked, **tuned.to_json(), "saved": saved})
    else:
        _say(index, tuned, target_recall, saved)
    if tuned.proposal is None:
        note(f"no setting reaches recall@10 {target_recall}: store or index more of each vector")
        raise typer.Exit(TARGET_MISSED)


def _keep(connection: psycopg.Connection, index: str, proposal: SearchTuning) -> None:
    """For searches by name, and in the index's function."""
    found = find_index(connection, index)
    statements = function_statements(found.spec, found.names, proposal)
    with connection.transaction():
        store_tuning(connection, index, changed_fields(proposal))
        for statement in statements:
            connection.execute(statement.encode())


def _say(index: str, tuned: Tuned, target: float, saved: bool) -> None:
    typer.echo(
        f"{index}: {tuned.vectors:,} vectors, approximate index {tuned.index_bytes / 1e6:,.1f} MB, "
        f"{tuned.probes} questions"
    )
    table = Table("setting", "recall@10", "p50", "answered exactly", box=None)
    for one in tuned.settings:
        shares = (f"{one.recall:.3f}", f"{one.p50:.1f} ms", f"{one.exact_share:.0%}")
        table.add_row(literal(one.tuning), *shares)
    print_table(table)
    if tuned.variants:
        table = Table("not built", "oversample", "recall@10", "index", "vector", box=None)
        for form in tuned.variants:
            sizes = (f"{form.index_bytes / 1e6:,.1f} MB", f"{form.stored_bytes:,} B")
            table.add_row(form.quantization, str(form.oversample), f"{form.recall:.3f}", *sizes)
        print_table(table)
    if tuned.lexical:
        table = Table("lexical lane", "recall@10", "p50", box=None)
        for lane in tuned.lexical:
            name = f"lexical_ef_search={lane.ef_search}"
            name += " (exact)" if lane.ef_search == EXACT else ""
            table.add_row(name, f"{lane.recall:.3f}", f"{lane.p50:.1f} ms")
        print_table(table)
    _say_fusion(tuned)
    if tuned.proposal is not None:
        kept = "kept for searches by name" if saved else f"keep it: embedsql tune {index} --save"
        typer.echo(
            f"proposed for recall@10 {target}: {literal(tuned.proposal)} (recall {tuned.recall:.3f}"
            f", p50 {tuned.p50:.1f} ms on questions it was not chosen by); {kept}"
        )


def _say_fusion(tuned: Tuned) -> None:
    if tuned.fusion is None:
        return
    said = "  ".join(f"{weight:g}: {ndcg:.4f}" for weight, ndcg in tuned.fusion.ndcg.items())
    typer.echo(f"nDCG@10 by lexical_weight  {said}")
    typer.echo(
        f"present setting {tuned.fusion.present:.4f}; a learnt weight, on queries it has not seen, "
        f"{tuned.fusion.held_out:.4f}: "
        + ("keep what there is" if tuned.fusion.weight is None else f"take {tuned.fusion.weight:g}")
    )
