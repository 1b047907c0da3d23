"""The candidates of a search with what each lane adds to their scores, and the hits among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from sqlalchemy import Double, and_, cast, false, func, null, select

from embedsql import sqlfile
from embedsql.explain.explanation import HitExplanation, Lane, Term
from embedsql.explain.statement import Key, Subject, keys_json, run
from embedsql.key import shown_key
from embedsql.naming import ObjectNames
from embedsql.search.bound import bound
from embedsql.search.fusion import ranked_rows
from embedsql.search.query import Query
from embedsql.search.target import Target
from embedsql.search.window import shaped_rows
from embedsql.spec import IndexSpec


@dataclass(frozen=True)
class Candidate:
    """A row that a lane handed on.

    Attributes:
        key: Values of its key.
        score: As the lanes have it.
        shown_score: With boosts. ``None``: shaping leaves it out.
        place: In the ranking as shaped, from 1.
        dense: Of the dense lane.
        lexical: Of the lexical lane.
        strategy: How the dense lane was served.
        pending: Whether it was found by the words that it has now, and waits to be embedded.
        asked: Whether it is the row that was asked for.
    """

    key: tuple[Any, ...]
    score: float
    shown_score: float | None
    place: int | None
    dense: Lane
    lexical: Lane
    strategy: str | None
    pending: bool
    asked: bool


def candidates_of(subject: Subject, query: Query, key: Key | None = None) -> Sequence[Candidate]:
    """All candidates, as ranked; those left out by shaping last."""
    target = subject.target
    asked_for = bound(target, query)
    ranked = ranked_rows(target, asked_for, shares=True)
    shaped, best_first = shaped_rows(target, asked_for, ranked)
    order = [*best_first, *target.key_of(shaped)]
    placed = select(
        *target.key_of(shaped),
        shaped.c.score,
        func.row_number().over(order_by=order).label("place"),
    ).subquery("placed_row")
    same = and_(
        *(a == b for a, b in zip(target.key_of(ranked), target.key_of(placed), strict=True))
    )
    asked = false() if key is None else key.matches(target.key_of(ranked))
    shares = [ranked.c.get(name, cast(null(), Double)) for name in ("dense_share", "lexical_share")]
    statement = (
        select(
            *target.key_of(ranked),
            *(ranked.c[name] for name in ("score", "dense_rank", "similarity", "lexical_rank")),
            ranked.c.bm25,
            ranked.c.strategy,
            ranked.c.fresh.is_not(None).label("pending"),
            *(share.label(f"share_{place}") for place, share in enumerate(shares)),
            placed.c.score.label("shown_score"),
            placed.c.place,
            asked.label("asked"),
        )
        .join(placed, same, isouter=True)
        .order_by(placed.c.place.nulls_last(), ranked.c.score.desc())
    )
    return [_candidate(target, query, line) for line in subject.session.execute(statement)]


def hits_of(
    subject: Subject, query: Query, candidates: Sequence[Candidate]
) -> list[HitExplanation]:
    """The rows that are shown, explained."""
    first = query.shaping.offset
    shown = [one for one in candidates[first : first + query.limit] if one.place is not None]
    terms = _terms(subject, query, shown) if query.uses_lexical else [[] for _ in shown]
    return [_explained(subject.spec, one, found) for one, found in zip(shown, terms, strict=True)]


def _candidate(target: Target, query: Query, line: Any) -> Candidate:
    count, found = len(target.key_names), line._mapping
    dense_share, lexical_share = found["share_0"], found["share_1"]
    if query.mode == "dense":
        dense_share = found["score"]
    elif query.mode == "lexical":
        lexical_share = found["score"]
    return Candidate(
        tuple(line[:count]),
        found["score"],
        found["shown_score"],
        found["place"],
        Lane(found["dense_rank"], found["similarity"], dense_share),
        Lane(found["lexical_rank"], found["bm25"], lexical_share),
        found["strategy"],
        found["pending"],
        found["asked"],
    )


def _terms(subject: Subject, query: Query, shown: Sequence[Candidate]) -> list[list[Term]]:
    found: list[list[Term]] = [[] for _ in shown]
    if not shown or subject.target.learned:  # a sparse encoder's terms are not the question's words
        return found
    stored = sqlfile.kit(subject.target.chunk.name)
    pending = sql.SQL("{}()").format(sqlfile.kit(ObjectNames(subject.spec.name).pending))
    for passages, wait in ((stored, False), (pending, True)):
        places = [place for place, one in enumerate(shown) if one.pending == wait]
        if not places:
            continue
        keys = keys_json(subject.spec, [shown[place].key for place in places])
        asked = {"keys": keys, "words": query.text}
        for line in run(subject, "terms.sql", asked, passages=passages):
            idf, weight = float(line["idf"]), float(line["weight"])
            found[places[line["place"] - 1]].append(Term(line["term"], idf, weight, idf * weight))
    return found


def _explained(spec: IndexSpec, one: Candidate, terms: Sequence[Term]) -> HitExplanation:
    assert one.place is not None
    assert one.shown_score is not None
    boost = one.shown_score - one.score
    parts = []
    if one.dense.share is not None:
        found = f"rank {one.dense.rank}" if one.dense.rank else "not among the nearest"
        near = (
            "not embedded yet" if one.dense.value is None else f"similarity {one.dense.value:.3f}"
        )
        parts.append(f"{one.dense.share:.3f} by meaning ({near}, {found})")
    if one.lexical.share is not None:
        words = ", ".join(term.term for term in terms) or "no word"
        scored = f"BM25 {one.lexical.value:.2f}"
        if spec.sparse_model is not None:
            words, scored = spec.sparse_model, f"score {one.lexical.value:.2f}"
        found = f"rank {one.lexical.rank}" if one.lexical.rank else "not among the best"
        found += ", of its text as it waits to be embedded" if one.pending else ""
        parts.append(f"{one.lexical.share:.3f} by words ({scored}, {found}: {words})")
    if boost:
        parts.append(f"{boost:.3f} by boosts")
    says = f"{one.shown_score:.3f} = {' + '.join(parts)}"
    return HitExplanation(
        shown_key(spec.key, one.key),
        one.place,
        one.shown_score,
        one.dense,
        one.lexical,
        boost,
        terms,
        one.pending,
        says,
    )
