"""An OpenAI-compatible server on the loopback interface, whose answers each test chooses."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from embedsql.embedders import Embedder, EmbedderOptions, load_embedder


@dataclass
class Answer:
    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class Provider:
    """What the server was asked, and what it will answer."""

    url: str = ""
    answer: Callable[[list[str]], Answer] = lambda texts: items(map(vector_of, texts))
    paths: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    payloads: list[dict[str, Any]] = field(default_factory=list)

    def load(self, model: str = "openai:small", **options: Any) -> Embedder:
        return load_embedder(model, EmbedderOptions(base_url=self.url, **options))

    def always(self, body: Any, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer = lambda texts: Answer(body, status, named)


def vector_of(text: str) -> list[float]:
    return [3.0, 4.0, float(len(text))]


def items(vectors: Any) -> Answer:
    return Answer({"data": [{"index": n, "embedding": found} for n, found in enumerate(vectors)]})


@contextlib.contextmanager
def serving() -> Iterator[Provider]:
    """A server for the length of a block."""
    asked = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.paths.append(self.path)
            asked.authorizations.append(self.headers["Authorization"])
            asked.payloads.append(payload)
            answer = asked.answer(payload["input"])
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        asked.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield asked
        finally:
            server.shutdown()
            thread.join()


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
