"""``tune`` on real, filled indexes: what it measures and proposes, and that searches take it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from embedsql import SearchTuning
from embedsql.database import connect
from embedsql.declare import drop_index
from embedsql.evaluate import JudgedQuery
from embedsql.registered import RegisteredSearch
from embedsql.registry import find_index
from embedsql.search import Hit
from embedsql.sqlsearch import function_statements
from embedsql.stored_tuning import store_tuning, stored_tuning
from embedsql.tune import Tuned, changed_fields, literal, tune
from embedsql.tune.fusion import learn_weight
from embedsql.tune.probes import Probe, stored_probes
from embedsql.tune.recall import Measured, recall
from embedsql.vectors import Ivfflat
from tests.acceptance.conftest import Embedsql
from tests.factories import add_index, create_article_table, drain

ROWS = 1500
WORDS = [f"word{number}" for number in range(300)]


@pytest.fixture(scope="module")
def articles(module_database: str) -> Iterator[psycopg.Connection]:
    """Articles of random words, which are hard to tell apart."""
    with connect(module_database) as connection:
        create_article_table(connection)
        random = np.random.default_rng(5)
        with connection.cursor().copy("COPY article (body) FROM STDIN") as copy:
            for _ in range(ROWS):
                copy.write_row([" ".join(random.choice(WORDS, 30))])
        yield connection


@pytest.fixture
def tuned_index(articles: psycopg.Connection, module_database: str) -> Iterator[Any]:
    """Adds an index of some form, drained, and tunes it; dropped afterwards."""

    def make(target: float = 0.9, **options: Any) -> Tuned:
        values = {"model": "hash:128", "dimensions": 128, "lexical": None, **options}
        add_index(articles, text=("body",), **values)
        drain(module_database)
        articles.execute("ANALYZE")
        return again(target)

    def again(target: float) -> Tuned:
        with RegisteredSearch(module_database, "article_search") as search:
            return tune(articles, search, "article_search", sample=24, target=target)

    make.again = again  # type: ignore[attr-defined]
    yield make
    drop_index(articles, "article_search")


@pytest.mark.exhaustive
def test_the_cheapest_setting_that_reaches_the_target_is_proposed(tuned_index: Any) -> None:
    found = tuned_index(0.9)
    assert (found.vectors, found.probes) == (ROWS, 24)
    works = [one.work for one in found.settings]
    assert works == sorted(works)
    assert len({one.tuning for one in found.settings}) == len(found.settings) > 5
    enough = [one for one in found.settings if one.recall >= 0.9]
    assert found.proposal == enough[0].tuning
    assert found.recall is not None
    assert found.recall > 0.8
    assert all(one.p50 > 0 for one in found.settings)
    # a longer list finds more
    by_list = {one.tuning.ef_search: one.recall for one in found.settings}
    assert by_list[800] >= by_list[40]
    assert by_list[800] > 0.97
    assert found.index_bytes > ROWS * 128 * 4


@pytest.mark.exhaustive
def test_few_lists_find_less_and_all_lists_find_everything(tuned_index: Any) -> None:
    found = tuned_index(1.0, index="ivfflat", ivfflat=Ivfflat(50))
    by_probes = {one.tuning.probes: one.recall for one in found.settings}
    assert by_probes[1] < 0.9
    assert by_probes[50] == 1.0
    assert found.proposal is not None
    assert 1 < found.proposal.probes <= 100
    assert tuned_index.again(0.5).proposal.probes < found.proposal.probes


@pytest.mark.exhaustive
def test_bits_need_more_candidates(tuned_index: Any) -> None:
    found = tuned_index(0.8, quantization="bit")
    best: dict[int, Measured] = {}
    for one in found.settings:
        of = best.setdefault(one.tuning.oversample, one)
        best[one.tuning.oversample] = max(of, one, key=lambda each: each.recall)
    assert best[16].recall > best[1].recall + 0.05
    assert {one.quantization for one in found.variants} == {"none", "halfvec", "int8"}


def test_other_forms_are_compared_with_the_one_that_is_built(tuned_index: Any) -> None:
    predicted = {one.quantization: one for one in tuned_index(0.9).variants}
    assert set(predicted) == {"halfvec", "bit", "int8"}
    assert predicted["halfvec"].recall > 0.97
    assert predicted["bit"].index_bytes < predicted["halfvec"].index_bytes


@pytest.mark.exhaustive
def test_a_prediction_of_bits_is_what_bits_give(
    tuned_index: Any, articles: psycopg.Connection
) -> None:
    predicted = {one.quantization: one for one in tuned_index(0.8).variants}["bit"]
    drop_index(articles, "article_search")
    built = tuned_index(0.8, quantization="bit")
    same = [one.recall for one in built.settings if one.tuning.oversample == predicted.oversample]
    assert max(same) == pytest.approx(predicted.recall, abs=0.08)


def test_an_index_without_an_approximate_one_is_exact(tuned_index: Any) -> None:
    found = tuned_index(1.0, index="none")
    assert [(one.recall, one.tuning) for one in found.settings] == [(1.0, SearchTuning())]
    assert (found.recall, found.index_bytes) == (1.0, 0)


@pytest.mark.exhaustive
def test_a_recall_that_is_too_low_is_called_so(
    tuned_index: Any, module_database: str, articles: psycopg.Connection
) -> None:
    """Bits of a few leading dimensions of a hash say next to nothing, and few are looked at."""
    tuned_index(0.1, quantization="bit", index_dimensions=16)
    store_tuning(articles, "article_search", {"candidates": 10})
    found = tuned_index.again(0.99)
    assert (found.proposal, found.recall, found.p50) == (None, None, None)
    assert max(one.recall for one in found.settings) < 0.9
    said = Embedsql(module_database).json(
        *("tune", "article_search", "--sample", "20", "--target-recall", "0.99", "--save"),
        exit_code=3,
    )
    assert (said["proposal"], said["saved"]) == (None, False)


def test_a_proposal_is_kept_and_searches_by_name_use_it(
    tuned_index: Any, module_database: str, articles: psycopg.Connection
) -> None:
    tuned_index(0.5)
    said = Embedsql(module_database).json(
        *("tune", "article_search", "--sample", "20", "--target-recall", "0.5", "--save")
    )
    assert said["saved"]
    kept = stored_tuning(articles, "article_search")
    assert kept == said["proposal"]["tuning"] != {}
    body = "SELECT prosrc FROM pg_proc WHERE oid = 'article_search'::regproc"
    ((made,),) = articles.execute(body).fetchall()
    spec = find_index(articles, "article_search").spec
    assert any(made in one for one in function_statements(spec, None, SearchTuning.kept(kept)))
    assert not any(made in one for one in function_statements(spec))
    with RegisteredSearch(module_database, "article_search") as search:
        assert changed_fields(search.tuning) == kept
        assert literal(search.tuning) == said["proposal"]["literal"]
        store_tuning(articles, "article_search", {"candidates": 20, "of_another_release": 1})
    with RegisteredSearch(module_database, "article_search") as search:
        assert search.tuning == SearchTuning(candidates=20)
        # 20 rows is all that a lane hands on
        assert len(search.search("word1 word2", mode="dense", limit=20).hits) == 20


@pytest.mark.exhaustive
def test_stored_vectors_are_asked_and_their_own_rows_do_not_count(
    tuned_index: Any, articles: psycopg.Connection
) -> None:
    tuned_index(0.9)
    index = find_index(articles, "article_search")
    probes = stored_probes(articles, index, 30)
    assert len(probes) == 30
    assert [one.key for one in probes] == [one.key for one in stored_probes(articles, index, 30)]
    assert {one.vector.shape for one in probes} == {(128,)}
    assert {one.limit for one in probes} == {11}


def hit(similarity: float) -> Hit:
    return Hit(similarity, 1, similarity, None, None, None, 0, "", "ann")


def test_recall_counts_rows_as_far_as_the_tenth_and_not_the_own_one() -> None:
    probe = Probe(np.ones(2, dtype=np.float32), key=7)
    truth = [0.0, 0.1, 0.2]
    assert recall([(7, hit(1.0)), (1, hit(0.9)), (2, hit(0.8))], truth, probe, "cosine") == 1
    assert recall([(7, hit(1.0)), (3, hit(0.8)), (2, hit(0.8))], truth, probe, "cosine") == 1
    assert recall([(7, hit(1.0)), (1, hit(0.9)), (3, hit(0.7))], truth, probe, "cosine") == 0.5
    assert recall([(1, hit(0.9)), (2, hit(0.8)), (3, hit(0.7))], truth, probe, "cosine") == 1
    free = Probe(probe.vector)
    assert recall([(1, hit(0.9))], [0.1, 0.2], free, "cosine") == 0.5
    assert recall([(1, hit(3.0))], [-3.0], free, "inner_product") == 1
    assert recall([(1, hit(1 / 1.5))], [0.5], free, "l2") == 1


@pytest.fixture
def judged_index(connection: psycopg.Connection, database: str) -> list[JudgedQuery]:
    """Questions whose answer only words find: vectors of so few dimensions tell little apart."""
    create_article_table(connection)
    random = np.random.default_rng(9)
    bodies = [" ".join(random.choice(WORDS, 12)) + f" name{number}" for number in range(400)]
    with connection.cursor().copy("COPY article (id, body) FROM STDIN") as copy:
        for number, body in enumerate(bodies):
            copy.write_row([number, body])
    add_index(connection, text=("body",), model="hash:8", dimensions=8, lexical="simple")
    drain(database)
    return [JudgedQuery(f"q{n}", f"name{n} word1", {str(n): 1}) for n in range(0, 400, 20)]


def test_the_weight_of_words_is_learnt_where_vectors_are_weak(
    database: str, judged_index: list[JudgedQuery]
) -> None:
    with RegisteredSearch(database, "article_search") as search:
        vectors = search.embedder.embed_queries([query.text for query in judged_index])
        weak = SearchTuning(lexical_weight=0.0)
        found = learn_weight(search, judged_index, vectors, weak)
    assert found.weight is not None
    assert found.weight > 0
    assert found.ndcg[found.weight] == max(found.ndcg.values())
    assert found.held_out > found.present
    assert found.ndcg[0.0] < found.ndcg[16.0]


@pytest.mark.exhaustive
def test_a_weight_that_is_no_better_on_unseen_queries_is_not_taken(
    database: str, judged_index: list[JudgedQuery]
) -> None:
    with RegisteredSearch(database, "article_search") as search:
        vectors = search.embedder.embed_queries([query.text for query in judged_index])
        learnt = learn_weight(search, judged_index, vectors, SearchTuning(lexical_weight=0.0))
        best = SearchTuning(lexical_weight=learnt.weight or 0.0)
        found = learn_weight(search, judged_index, vectors, best)
    assert learnt.weight is not None
    assert found.held_out <= found.present
    assert found.weight is None


@pytest.mark.exhaustive
def test_judged_queries_are_read_and_asked(
    database: str, judged_index: list[JudgedQuery], tmp_path: Path
) -> None:
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"
    queries.write_text(
        "\n".join(json.dumps({"id": one.query_id, "text": one.text}) for one in judged_index)
    )
    qrels.write_text(
        "\n".join(f"{one.query_id}\t{key}\t1" for one in judged_index for key in one.relevant)
    )
    files = ("--queries", str(queries), "--qrels", str(qrels))
    said = Embedsql(database).json("tune", "article_search", "--target-recall", "0.5", *files)
    assert said["probes"] == said["fusion"]["queries"] == 20
    assert set(said["fusion"]) == {"queries", "ndcg@10", "present", "held_out", "weight"}
    text = Embedsql(database).run("tune", "article_search", "--target-recall", "0.5", *files)
    assert "nDCG@10 by lexical_weight" in text.stdout
    assert "SearchTuning(" in text.stdout
    alone = Embedsql(database).run("tune", "article_search", *files[:2], exit_code=2)
    assert "--qrels" in alone.stderr
