"""``embedsql reembed`` as a process: whole, killed, resumed, judged, taken back."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.acceptance.conftest import Embedsql
from tests.factories import add_index, create_article_table, drain

ROWS = 200


@pytest.fixture
def article(connection: psycopg.Connection, database: str) -> None:
    create_article_table(connection)
    add_index(connection)
    connection.execute(
        "INSERT INTO article (title, body) SELECT 'title', 'word' || n || ' of row ' || n "
        "FROM generate_series(1, %s) AS n",
        [ROWS],
    )
    drain(database)


def change(embedsql: Embedsql, *arguments: str, **more: Any) -> Any:
    return embedsql.json("reembed", "article_search", *arguments, **more)


@pytest.mark.usefixtures("article")
def test_one_command_changes_the_model_and_another_takes_it_back(embedsql: Embedsql) -> None:
    done = change(embedsql, "--model", "hash:96", "--quantization", "halfvec")

    assert done["serving"] == {"generation": 2, "model": "hash:96", "vector": "halfvec(96)"}
    assert done["next"] is None
    assert done["previous"]["state"] == "retired"
    assert embedsql.json("search", "article_search", "word7 of row 7")["hits"]
    assert embedsql.json("verify")["ok"]
    # asked again, there is nothing left to do
    assert change(embedsql, "--model", "hash:96", "--quantization", "halfvec") == done

    back = change(embedsql, "--rollback")
    assert back["serving"]["model"] == "hash:64"
    assert back["next"]["comparison"]["queries"] == 100
    assert change(embedsql, "--abort")["next"] is None
    (index,) = embedsql.json("status")["indexes"]
    assert (index["rows"], index["chunks"], index["generation"]) == (ROWS, ROWS, 1)
    assert index["change"] == []


@pytest.mark.usefixtures("article")
@pytest.mark.exhaustive
def test_a_change_may_stop_before_the_switch(embedsql: Embedsql) -> None:
    waiting = change(embedsql, "--model", "hash:96", "--no-switch")

    assert waiting["serving"]["generation"] == 1
    assert waiting["next"]["state"] == "ready"
    assert 0 < waiting["next"]["comparison"]["overlap@10"] <= 1
    (index,) = embedsql.json("status")["indexes"]
    assert [one["state"] for one in index["change"]] == ["ready"]
    assert "generation 2 is ready" in embedsql.run("status").stdout
    assert change(embedsql)["serving"]["generation"] == 2
    assert change(embedsql, "--finish")["previous"] is None


@pytest.mark.usefixtures("article")
@pytest.mark.exhaustive  # test_reembed cuts changes off in this process every day
@pytest.mark.parametrize("until", ["building", "half", "ready"])
def test_killed_at_any_time_it_goes_on(
    embedsql: Embedsql,
    connection: psycopg.Connection,
    slow_endpoint: Callable[[float], str],
    until: str,
) -> None:
    spoken = ["--model", "openai:slow", "--base-url", slow_endpoint(0.1)]
    process = embedsql.start("reembed", "article_search", *spoken, "--no-switch")
    assert wait_for(connection, REACHED[until])
    process.kill()
    process.wait()
    assert process.stderr is not None
    process.stderr.close()
    connection.execute("UPDATE article SET body = 'changed while nobody worked' WHERE id = 9")

    done = change(embedsql)

    assert done["serving"]["model"] == "openai:slow"
    embedsql.run("worker", "--drain")
    assert embedsql.json("verify")["ok"]
    assert change(embedsql, "--finish")["previous"] is None


REACHED = {
    "building": "SELECT FROM embedsql.semantic_index WHERE generation = 2",
    "half": "SELECT FROM embedsql.article_search_batch_2",
    "ready": "SELECT FROM embedsql.semantic_index WHERE state = 'ready'",
}


def wait_for(connection: psycopg.Connection, query: str) -> bool:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if connection.execute(query.encode()).rowcount:
                return True
        except psycopg.errors.UndefinedTable:
            pass
        time.sleep(0.05)
    return False


@pytest.mark.usefixtures("article")
@pytest.mark.exhaustive
def test_a_model_that_is_judged_worse_is_not_switched_to_unasked(
    embedsql: Embedsql, tmp_path: Path
) -> None:
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"
    queries.write_text(
        "".join(f'{{"id": "{n}", "text": "word{n} of row {n}"}}\n' for n in range(1, 40))
    )
    qrels.write_text("".join(f"{n}\t{n}\t1\n" for n in range(1, 40)))
    judged = ["--queries", str(queries), "--qrels", str(qrels)]

    refused = embedsql.run("reembed", "article_search", "--model", "hash:2", *judged, exit_code=1)

    assert "by the judgements the serving generation is better" in refused.stderr
    status = change(embedsql, "--status")
    comparison = status["next"]["comparison"]
    assert comparison["next"]["ndcg@10"] < comparison["serving"]["ndcg@10"]
    assert status["serving"]["generation"] == 1
    assert change(embedsql, "--force")["serving"]["generation"] == 2


@pytest.mark.exhaustive
@pytest.mark.usefixtures("article")
def test_what_cannot_be_done_is_said_in_a_line(embedsql: Embedsql) -> None:
    cases: list[tuple[list[str], int, str]] = [
        ([], 1, "no change of 'article_search' is under way"),
        (["--rollback"], 1, "no generation before"),
        (["--finish"], 1, "no generation before"),
        (["--abort"], 1, "no change of"),
        (["--model", "hash:64"], 1, "nothing would change"),
        (["--model", "nothing:1"], 1, "nothing:1"),
        (["--finish", "--abort"], 2, "give only one of"),
        (["--model", "hash:8", "--queries", "x"], 2, "go together"),
        (["--model", "hash:8", "--no-chunking", "--chunk-tokens", "64"], 2, "excludes"),
    ]
    for arguments, code, words in cases:
        result = embedsql.run("reembed", "article_search", *arguments, exit_code=code)
        assert words in " ".join(result.stderr.replace("│", " ").split())
