"""What an explanation says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

ReasonCode = Literal[
    "absent",
    "absent_or_hidden",
    "filtered",
    "blank",
    "backfill",
    "queued",
    "leased",
    "retry",
    "dead",
    "stopped",
    "missing",
    "stale",
    "unknown",
    "excluded_word",
    "lacks_word",
    "words_apart",
    "no_vector",
    "no_word",
    "not_found_by_index",
    "outside_window",
    "shaped_away",
    "earlier_page",
    "below_cut",
]


@dataclass(frozen=True)
class Term:
    """A word of the question in a row's best passage.

    Attributes:
        term: As the text-search configuration has it.
        idf: How rare it is among the index's passages, times how often the question has it.
        weight: How much of it the passage has: BM25's saturated, length-normalized frequency.
        score: Their product, which it adds to the BM25 score.
    """

    term: str
    idf: float
    weight: float
    score: float


@dataclass(frozen=True)
class Lane:
    """What one lane says of a row.

    Attributes:
        rank: From 1; ``None``: the lane did not find it.
        value: The similarity, or the BM25 score.
        share: What it adds to the row's score; ``None`` where the lane takes no part.
    """

    rank: int | None
    value: float | None
    share: float | None


@dataclass(frozen=True)
class HitExplanation:
    """How the score of one row came about: the two shares and the boost.

    Attributes:
        key: A scalar, or an object by column for a key of several.
        place: In the ranking as shown, from 1.
        score: The sum.
        dense: By meaning.
        lexical: By words.
        boost: What ``boosts`` added.
        terms: The words that matched, what adds most first.
        pending: Whether the row waits to be embedded and was found by the words that it has now.
        says: All of it in one sentence.
    """

    key: Any
    place: int
    score: float
    dense: Lane
    lexical: Lane
    boost: float
    terms: Sequence[Term]
    pending: bool
    says: str


@dataclass(frozen=True)
class Reason:
    """One reason why a row is not in a result, or is there with an old text.

    Attributes:
        code: Which.
        says: In words, with what to do.
        details: Its figures.
    """

    code: ReasonCode
    says: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RowExplanation:
    """Where one row stands.

    Attributes:
        key: As it was asked for.
        shown: Whether the search returns it.
        place: In the ranking of the candidates as shaped, from 1; ``None``: it is not in there.
        dense: Rank among all rows that pass the filters, by an exact search, and similarity.
        lexical: The same by words.
        reasons: Why it is not shown, what is decisive first. Of a shown row: what is off with it.
    """

    key: Any
    shown: bool
    place: int | None
    dense: Lane | None
    lexical: Lane | None
    reasons: Sequence[Reason]


@dataclass(frozen=True)
class Explanation:
    """A search, explained.

    Attributes:
        mode: Its lanes.
        strategy: How the dense lane was served: ``ann`` or ``exact``.
        fusion: How lanes became one ranking; ``None`` of one lane.
        similarity_mean: Of two passages taken at random, where the fusion is calibrated.
        similarity_deviation: Its deviation.
        hits: The rows that are shown.
        row: The row that was asked for.
    """

    mode: str
    strategy: str | None
    fusion: str | None
    similarity_mean: float | None
    similarity_deviation: float | None
    hits: Sequence[HitExplanation]
    row: RowExplanation | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)
