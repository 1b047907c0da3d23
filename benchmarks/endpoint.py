"""An OpenAI-compatible embedding endpoint that costs next to nothing, as a process of its own.

Vectors are made and rendered beforehand; a text's own is picked by a checksum, so that what a
pipeline stored can be checked. Floats and base64, any number of texts, connections kept alive.
It knows when the first texts came: ``GET /first`` tells and forgets.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import numpy as np
import numpy.typing as npt
from pydantic_core import from_json

DIMENSIONS = 384
DISTINCT = 1000


@functools.cache
def vectors() -> npt.NDArray[np.float32]:
    """Shape (DISTINCT, DIMENSIONS), unit length."""
    made = np.random.default_rng(7).standard_normal((DISTINCT, DIMENSIONS), dtype=np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


def vector_place(text: str) -> int:
    """Which of ``vectors`` is the text's."""
    return zlib.crc32(text.encode()) % DISTINCT


class Endpoint:
    """A running endpoint.

    Attributes:
        base_url: Ends with ``/v1``.
    """

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def first_texts_at(self) -> float:
        """Unix time at which the first several texts came since the last call.

        Raises:
            ValueError: None came.
        """
        answer = httpx.get(f"{self.base_url}/first").json()
        if answer is None:
            raise ValueError("the endpoint was not asked for anything")
        return float(answer)


@contextlib.contextmanager
def instant_endpoint() -> Iterator[Endpoint]:
    """Serve for the length of a block."""
    command = [sys.executable, "-m", "benchmarks.endpoint"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Endpoint(process.stdout.readline().strip())
        finally:
            process.terminate()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet for headers and body
    disable_nagle_algorithm = True
    first: float | None = None

    def do_POST(self) -> None:
        asked = from_json(self.rfile.read(int(self.headers["Content-Length"])))
        texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
        if _Handler.first is None and len(texts) > 1:  # one text alone is a client's probe
            _Handler.first = time.time()
        self._answer(_body(texts, asked.get("encoding_format", "float")))

    def do_GET(self) -> None:
        first, _Handler.first = _Handler.first, None
        self._answer(json.dumps(first).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response_only(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


def _body(texts: Sequence[str], encoding: str) -> bytes:
    rendered = _rendered(encoding)
    parts = [b'{"object":"list","model":"instant","data":[']
    for place, text in enumerate(texts):
        index = b'{"object":"embedding","index":%d,"embedding":' % place
        parts += (index, rendered[vector_place(text)], b"},")
    parts[-1] = b'}],"usage":{"prompt_tokens":%d,"total_tokens":%d}}' % (len(texts), len(texts))
    return b"".join(parts)


@functools.cache
def _rendered(encoding: str) -> list[bytes]:
    """Every vector as JSON: nine digits give back a float32 exactly."""
    if encoding == "base64":
        return [b'"%b"' % base64.b64encode(vector.tobytes()) for vector in vectors()]
    return [b"[" + b",".join(b"%.9g" % float(x) for x in row) + b"]" for row in vectors()]


def main() -> None:
    """Print the base URL, then serve until terminated."""
    for encoding in ("float", "base64"):
        _rendered(encoding)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
