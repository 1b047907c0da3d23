"""How a generation answers beside the one that serves: agreement, and judged quality."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from embedsql.evaluate import Evaluation, JudgedQuery, judge_search
from embedsql.key import shown_key
from embedsql.registered import RegisteredSearch
from embedsql.registry import RegisteredIndex
from embedsql.search import Mode
from embedsql.slots import Slots

SAMPLE = 100
TOP = 10
QUERY_CHARACTERS = 500
WORSE = 0.01  # nDCG@10 that a generation may lose and still be switched to without --force

Sample = Sequence[tuple[Any, str]]


@dataclass(frozen=True)
class Comparison:
    """Two generations on the same queries, in the dense lane.

    Attributes:
        queries: How many were asked.
        overlap: Share of the first ten rows that both found, 0 to 1; 1 where nothing is stored.
        serving: The serving generation on judged queries, in the mode that was asked for.
        next: The other one.
    """

    queries: int
    overlap: float
    serving: Evaluation | None = None
    next: Evaluation | None = None

    @property
    def is_worse(self) -> bool:
        """Whether the judgements speak against a switch."""
        if self.serving is None or self.next is None:
            return False
        return self.next.ndcg_at_10 < self.serving.ndcg_at_10 - WORSE

    def to_json(self) -> dict[str, Any]:
        """For the registry and ``--json``."""
        return {
            "queries": self.queries,
            "overlap@10": round(self.overlap, 4),
            "serving": self.serving and self.serving.to_json(),
            "next": self.next and self.next.to_json(),
        }


def compare(
    serving: RegisteredSearch,
    other: RegisteredSearch,
    sample: Sample,
    judged: Sequence[JudgedQuery] = (),
    mode: Mode | None = None,
) -> Comparison:
    """Ask two generations the same queries.

    Args:
        serving: Searches the one.
        other: Searches the other.
        sample: Texts of stored chunks with their rows' keys, asked in the dense lane; a row is
            not counted as an answer to its own text.
        judged: Queries whose right answers are known; these are counted for the overlap, too.
        mode: Which lanes are judged. ``None``: of each the best that it has.
    """
    asked = [*sample, *((None, query.text) for query in judged[:SAMPLE])]
    shares = []
    for key, text in asked:
        ours, theirs = (_first_rows(one, key, text) for one in (serving, other))
        if ours or theirs:
            shares.append(len(ours & theirs) / max(len(ours), len(theirs)))
    return Comparison(
        len(asked),
        sum(shares) / len(shares) if shares else 1.0,
        _judge(serving, judged, mode) if judged else None,
        _judge(other, judged, mode) if judged else None,
    )


def sample_chunks(connection: psycopg.Connection, index: RegisteredIndex) -> Sample:
    """Up to a hundred stored chunks, the same ones each time: those with the least digests."""
    slots = Slots(index.spec, index.names)
    rows = connection.execute(
        sql.SQL("SELECT {}, left(chunk, {}) FROM {} ORDER BY content_hash LIMIT {}").format(
            slots.key_columns, QUERY_CHARACTERS, slots.chunk, SAMPLE
        ),
        {},
    ).fetchall()
    return [(shown_key(index.spec.key, key), text) for *key, text in rows if text.strip()]


def record(
    connection: psycopg.Connection, index: RegisteredIndex, comparison: Comparison | None
) -> None:
    """Keep a comparison with its generation, which is ready from now on."""
    document = None if comparison is None else json.dumps(comparison.to_json())
    connection.execute(
        "UPDATE embedsql.semantic_index SET comparison = coalesce(%s::jsonb, comparison), "
        "state = CASE WHEN state = 'building' THEN 'ready' ELSE state END WHERE index_id = %s",
        [document, index.index_id],
    )


def recorded(connection: psycopg.Connection, index: RegisteredIndex) -> dict[str, Any] | None:
    """What was kept of the last comparison."""
    found = connection.execute(
        "SELECT comparison FROM embedsql.semantic_index WHERE index_id = %s", [index.index_id]
    ).fetchone()
    return None if found is None else found[0]


def _first_rows(searcher: RegisteredSearch, key: Any, text: str) -> set[str]:
    """The keys of the first ten rows; as text, since a key may be an object."""
    found = searcher.search(text, mode="dense", limit=TOP + 1).hits
    others = [str(other) for other, _ in found if key is None or other != key]
    return set(others[:TOP])


def _judge(
    searcher: RegisteredSearch, queries: Sequence[JudgedQuery], mode: Mode | None
) -> Evaluation:
    return judge_search(searcher, queries, mode or searcher.best_mode)
