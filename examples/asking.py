"""One question in every mode, side by side."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from embedsql.search import Mode
from examples.models import python_doc_search

MODES: Sequence[Mode] = ("dense", "lexical", "hybrid")
SHOWN = 3
WIDTH = 23  # characters of a column; three fit on a terminal of 80


@dataclass(frozen=True)
class Answer:
    """What one mode found.

    Attributes:
        names: Best first.
        milliseconds: What the search took, the embedding of the question not counted.
    """

    names: Sequence[str]
    milliseconds: float


def ask(database: Engine, question: str) -> dict[Mode, Answer]:
    """The best names in each mode. The question is embedded once, for all of them."""
    vector = python_doc_search.embedder.embed_queries([question])[0]
    return {mode: _answer(database, question, vector, mode) for mode in MODES}


def side_by_side(answers: Mapping[Mode, Answer]) -> Table:
    """A table with a column for each mode."""
    table = Table("", box=None, padding=(0, 2, 0, 0))
    for mode, answer in answers.items():
        table.add_column(f"{mode}, {answer.milliseconds:.0f} ms", width=WIDTH, overflow="fold")
    columns = [map(_folded, answer.names) for answer in answers.values()]
    for place, names in enumerate(itertools.zip_longest(*columns, fillvalue=""), 1):
        table.add_row(f"{place}", *names)
    return table


def _answer(database: Engine, question: str, vector: Sequence[float], mode: Mode) -> Answer:
    started = time.perf_counter()
    statement = python_doc_search.search(question, vector=vector, mode=mode, limit=SHOWN)
    with Session(database) as session:
        names = [doc.name for doc, _ in session.execute(statement)]
    return Answer(names, (time.perf_counter() - started) * 1000)


def _folded(name: str) -> str:
    """Broken after dots, where it is too long for one line."""
    lines = [""]
    for part in re.findall(r"[^.]+\.?", name):
        if len(lines[-1] + part) > WIDTH:
            lines.append("  ")
        lines[-1] += part
    return "\n".join(lines)
