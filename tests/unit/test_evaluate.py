from __future__ import annotations

import sys
from collections.abc import Sequence
from math import log2
from pathlib import Path

import pytest

from embedsql import InputFileError, MissingExtraError
from embedsql.evaluate import Evaluation, JudgedQuery, evaluate, read_judged_queries

QUERIES = '{"id": "q1", "text": "first"}\n{"id": 2, "text": "second"}\n{"id": "q3", "text": "x"}\n'
JUDGEMENTS = "q1\td1\t2\nq1\td2\t1\nq1\td3\t0\n2\td1\t1\nq9\td1\t1\n"
READ = [JudgedQuery("q1", "first", {"d1": 2, "d2": 1}), JudgedQuery("2", "second", {"d1": 1})]


def read(folder: Path, queries: str | bytes, judgements: str | bytes) -> list[JudgedQuery]:
    paths = folder / "queries.jsonl", folder / "qrels.tsv"
    for path, content in zip(paths, (queries, judgements), strict=True):
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_judged_queries(*paths)


def answering(answers: dict[str, Sequence[str]], relevant: dict[str, dict[str, int]]) -> Evaluation:
    """The evaluation of fixed answers; a query's text is its id."""
    queries = [JudgedQuery(name, name, found) for name, found in relevant.items()]
    return evaluate(queries, lambda text: [(document, 1.0) for document in answers[text]])


@pytest.mark.parametrize(
    "header",
    ["", "query_id\tdoc_id\trelevance\n", "query-id\tcorpus-id\tRelevance\r\n"],
    ids=["no header", "header", "another header"],
)
def test_judgements_are_read_with_and_without_a_header(tmp_path: Path, header: str) -> None:
    assert read(tmp_path, QUERIES, header + JUDGEMENTS) == READ


def test_windows_line_ends_and_blank_lines_are_no_matter(tmp_path: Path) -> None:
    windows = QUERIES.replace("\n", "\r\n\r\n"), JUDGEMENTS.replace("\n", "\r\n") + "\r\n"

    assert read(tmp_path, *windows) == READ


def test_line_separators_inside_a_text_do_not_end_the_line(tmp_path: Path) -> None:
    found = read(tmp_path, '{"id": "q1", "text": "a\u2028b\x85c"}', "q1\td1\t1")

    assert found == [JudgedQuery("q1", "a\u2028b\x85c", {"d1": 1})]


def test_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"

    assert read(tmp_path, QUERIES, mark + JUDGEMENTS.encode()) == READ
    assert read(tmp_path, mark + QUERIES.encode(), JUDGEMENTS) == READ


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[1, 2]",
        '"text"',
        "17",
        '{"text": "no id"}',
        '{"id": "no text"}',
        '{"id": "q", "text": null}',
        '{"id": "q", "text": " "}',
        '{"id": "q", "text": ["a"]}',
    ],
)
def test_a_malformed_query_is_named_by_file_and_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(InputFileError, match=r"queries\.jsonl, line 4: "):
        read(tmp_path, QUERIES + line + "\n" + QUERIES, JUDGEMENTS)


@pytest.mark.parametrize("line", ["q1", "q1\td1", "q1\td1\thigh", "q1 d1 1", "q1\td1\t"])
def test_a_malformed_judgement_is_named_by_file_and_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(InputFileError, match=r"qrels\.tsv, line 6: "):
        read(tmp_path, QUERIES, f"{JUDGEMENTS}{line}\n")


def test_the_four_columns_of_trec_are_not_misread(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="line 1"):
        read(tmp_path, QUERIES, "q1\t0\t17\t1\n")


def test_queries_without_any_judgement_are_refused(tmp_path: Path) -> None:
    for judgements in ("", "q9\td1\t1\n", "q1\td1\t0\n"):
        with pytest.raises(InputFileError, match="has a judgement"):
            read(tmp_path, QUERIES, judgements)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"absent\.tsv cannot be read"):
        read_judged_queries(tmp_path / "queries.jsonl", tmp_path / "absent.tsv")
    with pytest.raises(InputFileError, match=r"queries\.jsonl cannot be read"):
        read(tmp_path, b'{"id": "q1", "text": "\xff"}', JUDGEMENTS)


def test_measures_are_those_computed_by_hand() -> None:
    found = answering(
        {"a": ["x", "d1", "y", "d2"], "b": ["d2", "d1"], "c": []},
        {"a": {"d1": 1, "d2": 1}, "b": {"d1": 2, "d2": 1}, "c": {"d1": 1}},
    )
    a = (1 / log2(3) + 1 / log2(5)) / (1 + 1 / log2(3))
    b = (1 + 2 / log2(3)) / (2 + 1 / log2(3))

    assert found.queries == 3
    assert found.ndcg_at_10 == pytest.approx((a + b + 0) / 3)
    assert found.mrr_at_10 == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert found.recall_at_100 == pytest.approx((1 + 1 + 0) / 3)


def test_measures_end_at_their_depth() -> None:
    fill = [f"x{number}" for number in range(100)]
    at_11, at_101 = [*fill[:10], "d1"], [*fill, "d1"]

    late = answering({"a": at_11}, {"a": {"d1": 1}})
    assert (late.ndcg_at_10, late.mrr_at_10, late.recall_at_100) == (0, 0, 1)
    assert answering({"a": at_101}, {"a": {"d1": 1}}).recall_at_100 == 0


def test_the_order_given_counts_not_the_scores() -> None:
    queries = [JudgedQuery("a", "a", {"d1": 1})]
    rising = evaluate(queries, lambda text: [("z", 0.1), ("d1", 0.2), ("b", 0.3)])
    equal = evaluate(queries, lambda text: [("z", 0.5), ("d1", 0.5), ("b", 0.5)])

    assert rising.mrr_at_10 == equal.mrr_at_10 == 0.5


def test_no_answers_at_all_are_nought() -> None:
    found = answering({"a": []}, {"a": {"d1": 1}})

    assert (found.ndcg_at_10, found.recall_at_100, found.mrr_at_10) == (0, 0, 0)


def test_json_has_the_agreed_names() -> None:
    assert Evaluation(2, 0.5, 0.6, 0.7, 1.0, 2.0).to_json() == {
        "queries": 2,
        "ndcg@10": 0.5,
        "recall@100": 0.6,
        "mrr@10": 0.7,
        "latency_ms": {"p50": 1.0, "p95": 2.0},
    }


def test_latency_is_measured_for_each_query() -> None:
    found = answering({"a": [], "b": ["d1"]}, {"a": {"d1": 1}, "b": {"d1": 1}})

    assert 0 <= found.p50 <= found.p95 < 1000


def test_without_ir_measures_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures", None)

    with pytest.raises(MissingExtraError, match=r"embedsql\[evaluate\]"):
        answering({"a": []}, {"a": {"d1": 1}})
