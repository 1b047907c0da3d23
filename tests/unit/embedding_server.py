"""An OpenAI-compatible server on the loopback interface, whose answers each test chooses.

It can misbehave in every way in which a server can: wrong answers, none, half ones, slow ones.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import numpy as np

from embedsql.embedders import Embedder, EmbedderOptions, load_embedder
from embedsql.embedders.openai import OpenAIEmbedder

Manner = Literal["whole", "cut off", "trickling", "endless", "silent", "hanging up", "reset"]


@dataclass
class Answer:
    """What is answered, and in what manner it is sent."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    manner: Manner = "whole"

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class Provider:
    """What the server was asked, and what it will answer.

    ``base64``: whether it honours, ignores or refuses a request for it.
    """

    url: str = ""
    answer: Callable[[list[str]], Answer] = lambda texts: items(map(vector_of, texts))
    base64: Literal["honours", "ignores", "refuses"] = "honours"
    connections: int = 0
    paths: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    payloads: list[dict[str, Any]] = field(default_factory=list)

    def load(self, model: str = "openai:small", **options: Any) -> Embedder:
        return load_embedder(model, EmbedderOptions(base_url=self.url, **options))

    def embedder(self, model: str = "openai:small", **options: Any) -> OpenAIEmbedder:
        """With what ``EmbedderOptions`` does not offer; the probe is not among the requests."""
        made = OpenAIEmbedder(model, base_url=self.url, **options)
        self.payloads.clear()
        return made

    def always(self, body: Any, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer = lambda texts: Answer(body, status, named)

    def to(self, word: str, *answers: Answer) -> None:
        """Answer so, in turn, where a text holds the word; the last one for ever."""
        usual, left = self.answer, list(answers)

        def chosen(texts: list[str]) -> Answer:
            if not any(word in text for text in texts):
                return usual(texts)
            return left.pop(0) if len(left) > 1 else left[0]

        self.answer = chosen

    def inputs(self) -> list[list[str]]:
        """The texts of each request."""
        return [payload["input"] for payload in self.payloads]

    def respond(self, payload: dict[str, Any]) -> Answer:
        asked = payload.get("encoding_format") == "base64"
        if asked and self.base64 == "refuses":
            return Answer({"error": {"message": "unknown field encoding_format"}}, 400)
        answer = self.answer(payload["input"])
        return encoded(answer) if asked and self.base64 == "honours" else answer


def vector_of(text: str) -> list[float]:
    return [3.0, 4.0, float(len(text))]


def items(vectors: Any) -> Answer:
    return Answer({"data": [{"index": n, "embedding": found} for n, found in enumerate(vectors)]})


def encoded(answer: Answer) -> Answer:
    """The same with its lists of numbers in base64."""
    data = answer.body.get("data") if isinstance(answer.body, dict) else None
    for item in data or ():
        if isinstance(item, dict) and isinstance(item.get("embedding"), list):
            with contextlib.suppress(ValueError, TypeError):
                numbers = np.array(item["embedding"], dtype="<f4")
                item["embedding"] = base64.b64encode(numbers.tobytes()).decode()
    return answer


def send(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
    """Write an answer in its manner; what never ends does when the client leaves."""
    if answer.manner == "hanging up":
        handler.close_connection = True
        return
    if answer.manner == "reset":
        no_goodbye = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_goodbye)
        handler.close_connection = True
        return
    if answer.manner == "silent":
        handler.connection.recv(1)
        return
    handler.send_response(answer.status)
    for name, value in answer.headers.items():
        handler.send_header(name, value)
    if answer.manner == "endless":
        handler.send_header("Connection", "close")
        handler.end_headers()
        while True:
            handler.wfile.write(b" " * 65536)
    handler.send_header("Content-Length", str(len(answer.content)))
    if answer.manner == "trickling":  # from the headers on
        handler.flush_headers()
        while True:
            handler.wfile.write(b"X-Padding: 1\r\n")
            time.sleep(0.01)
    handler.end_headers()
    if answer.manner == "cut off":
        handler.wfile.write(answer.content[: len(answer.content) // 2])
        handler.close_connection = True
    else:
        handler.wfile.write(answer.content)


@contextlib.contextmanager
def serving() -> Iterator[Provider]:
    """A server for the length of a block."""
    asked = Provider()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            with lock:
                asked.connections += 1

        def do_POST(self) -> None:
            payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                asked.paths.append(self.path)
                asked.authorizations.append(self.headers["Authorization"])
                asked.payloads.append(payload)
            try:
                send(self, asked.respond(payload))
            except OSError:
                self.close_connection = True  # the client left

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
