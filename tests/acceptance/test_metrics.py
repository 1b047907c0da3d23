"""What a worker tells: Prometheus metrics and structured logs, without any text of a row."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request

import psycopg

from tests.acceptance.conftest import Embedsql
from tests.acceptance.test_worker_process import eventually, finish
from tests.factories import create_article_table


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def scraped(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {
        name: float(value) for name, value in (line.split() for line in lines if line[0] != "#")
    }


def test_worker_serves_metrics_and_logs_batches(
    embedsql: Embedsql, connection: psycopg.Connection
) -> None:
    create_article_table(connection)
    connection.execute("INSERT INTO article (body) VALUES ('xylophone'), ('xylophone'), ('zither')")
    embedsql.run("add", "article", "--text", "body", "--model", "hash:64")
    port = free_port()
    worker = embedsql.start("worker", "--metrics-port", str(port))
    eventually(lambda: bool(embedsql.json("status")["indexes"][0]["chunks"] == 3))

    found = scraped(port)
    assert found["embedsql_rows_saved_total"] == 3
    assert found["embedsql_chunks_embedded_total"] == 2
    assert found["embedsql_batches_total"] >= 1
    assert found['embedsql_pending_rows{index="article_search"}'] == 0

    worker.send_signal(signal.SIGTERM)
    said = finish(worker, 0)
    assert "xylophone" not in said
    batches = [line for line in map(json.loads, said.splitlines()) if "rows" in line]
    assert batches[0]["event"] == "batch written"
    assert (batches[0]["index"], batches[0]["rows"]) == ("article_search", 3)


def test_taken_port_is_told(embedsql: Embedsql) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = embedsql.run("worker", "--drain", "--metrics-port", port, exit_code=1)
    assert result.stderr.startswith(f"embedsql: port {port} cannot be opened")
