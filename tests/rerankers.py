"""A tiny cross-encoder trained here, and a rerank server on the loopback interface."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

WORDS = "amber birch cedar flint grove quartz".split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def train_cross_encoder(folder: Path) -> Path:
    """A BERT of two small layers that learnt, in seconds, whether a passage has the query's word.

    It starts from random weights and a vocabulary of ``WORDS``: nothing is downloaded.
    """
    import torch
    from sentence_transformers import CrossEncoder
    from transformers import BertConfig, BertForSequenceClassification
    from transformers.models.bert import BertTokenizerFast  # type: ignore[attr-defined]

    untrained = folder / "untrained"
    untrained.mkdir()
    (untrained / "vocab.txt").write_text("\n".join([*SPECIAL, *WORDS]))
    torch.manual_seed(5)
    BertTokenizerFast(vocab=str(untrained / "vocab.txt")).save_pretrained(untrained)
    BertForSequenceClassification(
        BertConfig(
            vocab_size=len(SPECIAL) + len(WORDS),
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=128,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            initializer_range=0.1,
            max_position_embeddings=64,
            num_labels=1,  # type: ignore[call-arg]
        )
    ).save_pretrained(untrained)
    encoder = CrossEncoder(str(untrained), device="cpu")
    _fit(encoder)
    trained = folder / "trained"
    encoder.save_pretrained(str(trained))
    return trained


def _fit(encoder: Any, most_steps: int = 400) -> None:
    """On every word with every two words, until it tells right from wrong."""
    import torch

    pairs = [(word, two) for word in WORDS for two in itertools.combinations(WORDS, 2)]
    texts = encoder.tokenizer(
        [word for word, _ in pairs], [" ".join(two) for _, two in pairs], return_tensors="pt"
    )
    answers = torch.tensor([float(word in two) for word, two in pairs])
    optimizer = torch.optim.AdamW(encoder.model.parameters(), lr=2e-3)
    encoder.model.train()
    for _ in range(most_steps):
        scores = encoder.model(**texts).logits.squeeze(-1)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, answers)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        if loss.item() < 0.02:
            break
    encoder.model.eval()


@dataclass
class RerankServer:
    """What it was asked, and what it answers: a body, or a status and a body, or nothing."""

    url: str = ""
    answer: Callable[[dict[str, Any]], Any] = lambda asked: {
        "results": [
            {"index": place, "relevance_score": float(len(passage))}
            for place, passage in enumerate(asked["documents"])
        ]
    }
    delay: float = 0.0
    paths: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    payloads: list[dict[str, Any]] = field(default_factory=list)


@contextlib.contextmanager
def serving_reranks() -> Iterator[RerankServer]:
    """A server for the length of a block."""
    asked = RerankServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.paths.append(self.path)
            asked.authorizations.append(self.headers["Authorization"])
            asked.payloads.append(payload)
            time.sleep(asked.delay)
            answer = asked.answer(payload)
            status, body = answer if isinstance(answer, tuple) else (200, answer)
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            with contextlib.suppress(OSError):
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        asked.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield asked
        finally:
            server.shutdown()
            thread.join()
