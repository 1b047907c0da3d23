"""Why a row is not in a result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import exists, select

from embedsql.explain.explanation import Lane, Reason, RowExplanation
from embedsql.explain.filters import failed_conditions, failed_words, visibility
from embedsql.explain.ranks import dense_rank, lexical_rank
from embedsql.explain.state import state_of
from embedsql.explain.statement import Key, Subject
from embedsql.explain.window import Candidate
from embedsql.search.bound import bound
from embedsql.search.query import Query
from embedsql.search.target import Target


def explain_row(
    subject: Subject,
    query: Query,
    key: Key,
    candidates: Sequence[Candidate],
    *,
    given: Any,
    condition_words: Sequence[str] | None = None,
) -> RowExplanation:
    """Where one row stands; see ``RowExplanation``."""
    unseen = visibility(subject, key)
    if unseen is not None:
        return RowExplanation(given, False, None, None, None, [unseen])
    searchable = _is_searchable(subject, key)
    state = state_of(subject, key)
    reasons = list(failed_conditions(subject, query, key, condition_words))
    reasons += state.reasons(searchable=searchable)
    dense = lexical = None
    # a row that waits to be embedded may be found by its words all the same
    own = next((one for one in candidates if one.asked), None)
    if searchable:
        refused = list(failed_words(subject, query, key))
        reasons += refused
        if query.uses_dense:
            dense = dense_rank(subject, bound(subject.target, query), key)
        if query.uses_lexical:
            lexical = lexical_rank(subject, bound(subject.target, query), key)
        if not refused and not any(reason.code == "filtered" for reason in reasons):
            reasons += _ranking(subject.target, query, candidates, own, dense, lexical)
    elif own is not None:
        reasons += _in_window(query, candidates, own)
    first = query.shaping.offset
    place = None if own is None else own.place
    shown = place is not None and first < place <= first + query.limit
    return RowExplanation(given, shown, place, dense, lexical, reasons)


def _ranking(
    target: Target,
    query: Query,
    candidates: Sequence[Candidate],
    own: Candidate | None,
    dense: Lane | None,
    lexical: Lane | None,
) -> Iterator[Reason]:
    """Why a row that may be shown is not."""
    if own is not None:
        yield from _in_window(query, candidates, own)
        return
    if dense is None and lexical is None:
        yield _unknown_to_lanes(query)
        return
    wide = query.uses_dense or query.shaping.reorders
    depth = query.candidates if wide else query.limit
    if dense is not None and dense.rank is not None and dense.rank <= depth:
        yield Reason(
            "not_found_by_index",
            f"it is the {dense.rank}. by meaning, but the approximate index did not find it: raise "
            "SearchTuning(oversample=…) or ef_search",
            {"dense_rank": dense.rank},
        )
        return
    is_asked = target.lexical_index == "hnsw" and query.tuning.lexical_ef_search != 0
    if is_asked and lexical is not None and lexical.rank is not None and lexical.rank <= depth:
        yield Reason(
            "not_found_by_index",
            f"it is the {lexical.rank}. by words, but the approximate index did not find it: "
            "SearchTuning(lexical_ef_search=…) makes it look further, 0 at everything",
            {"lexical_rank": lexical.rank},
        )
        return
    ranks = {
        "dense_rank": None if dense is None else dense.rank,
        "lexical_rank": None if lexical is None else lexical.rank,
    }
    said = []
    if query.uses_dense:
        said.append("it has no vector" if dense is None else f"the {dense.rank}. by meaning")
    if query.uses_lexical:
        said.append("no word matches" if lexical is None else f"the {lexical.rank}. by words")
    yield Reason(
        "outside_window",
        f"it is not among the candidates, {depth} of each lane: {', '.join(said)}; "
        + ("SearchTuning(candidates=…)" if wide else "a larger limit")
        + " widens the window",
        {"candidates": depth, **ranks},
    )


def _unknown_to_lanes(query: Query) -> Reason:
    if query.mode == "lexical":
        return Reason("no_word", "it has none of the question's words")
    said = "its passages have no vectors"
    if query.uses_lexical:
        said += ", and it has none of the question's words"
    return Reason("no_vector", said)


def _in_window(query: Query, candidates: Sequence[Candidate], own: Candidate) -> Iterator[Reason]:
    first = query.shaping.offset
    last = first + query.limit
    if own.place is None or own.shown_score is None:
        yield Reason(
            "shaped_away",
            f"it is among the candidates with score {own.score:.4f}, but the search's thresholds, "
            "groups or page leave it out",
            {"score": own.score, "similarity": own.dense.value},
        )
    elif own.place <= first:
        yield Reason("earlier_page", f"it is on an earlier page, in place {own.place}")
    elif own.place > last:
        cut = next(one.shown_score for one in candidates if one.place == last)
        yield Reason(
            "below_cut",
            f"it is in place {own.place} with score {own.shown_score:.4f}; the last that is shown, "
            f"in place {last}, has {cut:.4f}",
            {"place": own.place, "score": own.shown_score, "last_score": cut},
        )


def _is_searchable(subject: Subject, key: Key) -> bool:
    target = subject.target
    own = key.matches(target.key_of(target.chunk))
    return bool(subject.session.execute(select(exists(select(1).where(own)))).scalar_one())
