"""The lexical lane by BM25: the rows with the best scores; any word of the query may match.

MaxScore in one statement: the rarest terms (the probe) choose candidates; a second stage looks
at what else could score above the k-th of these, which is often nothing. The result is exact,
unless an approximate index is there and spares the second stage a great many chunks.
Rows that wait to be embedded come in as they are now, instead of as they were (``pending``).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    CTE,
    Boolean,
    Double,
    Integer,
    Select,
    Text,
    case,
    cast,
    column,
    func,
    literal,
    null,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.selectable import FromClause

from embedsql.search.bound import BoundQuery, Expression
from embedsql.search.collapse import best_chunk
from embedsql.search.nearest_terms import (
    OVERSAMPLE,
    asks_index,
    lexical_depth,
    nearest_terms,
    rows_among,
    score_of,
)
from embedsql.search.pending import asked_of, pending_rows, settled
from embedsql.search.target import Target


def bm25_question(target: Target, query: BoundQuery) -> FromClause:
    """The query as BM25 asks it: one line, see ``embedsql.bm25_question``.

    Raises:
        QueryError: The index has no lexical lane.
    """
    return func.embedsql.bm25_question(
        target.index,
        target.configuration(),
        query.text,
        lexical_depth(query),
        target.generation,
        asks_index(target, query),
    ).table_valued(
        "weights",
        column("terms", ARRAY(Text)),
        column("bounds", ARRAY(Double)),
        "probed",
        "probe",
        "required",
        column("demand", Double),
        column("crowded", Boolean),
        name="asked",
    )


def bm25_lane(target: Target, query: BoundQuery, question: CTE) -> CTE:
    """Columns as those of ``lexical_lane``."""
    pending = pending_rows(target, query) if query.reads_pending else None
    lanes = _stored_rows(target, query, question, pending)
    if pending is not None:
        lanes.append(_waiting_rows(target, query, question, pending))
    found = union_all(*lanes).subquery("matching")
    order = [found.c.score.desc(), *target.key_of(found)]
    return (
        select(*found.c, func.row_number().over(order_by=order).label("rank"))
        .order_by(*order)
        .limit(lexical_depth(query))
        .cte(query.named("lexical"))
    )


def has_any_word(chunk: FromClause, question: CTE) -> Expression:
    """Whether a chunk has a word of the question, and all that are required."""
    matched = select(
        func.embedsql.bm25_beyond(question.c.terms, question.c.bounds, 0, question.c.required, 0.0)
    ).scalar_subquery()
    return chunk.c.lexemes.bool_op("@@")(matched)


def _stored_rows(
    target: Target, query: BoundQuery, question: CTE, pending: CTE | None
) -> list[Select[Any]]:
    """The best rows that wait for nothing: by both stages, or where these fell short, by all."""
    depth = lexical_depth(query)
    most = depth * OVERSAMPLE
    probe = select(question.c.probe).scalar_subquery()
    probed = _best_matches(target, query, question, probe, most, pending)
    probed = probed.cte(query.named("probed"))
    beyond = (
        select(
            func.embedsql.bm25_beyond(
                question.c.terms,
                question.c.bounds,
                question.c.probed,
                question.c.required,
                func.coalesce(_score_at(target, probed, depth), 0.0),
            ).label("matched")
        )
        .cte(query.named("beyond"))
        .prefix_with("MATERIALIZED")
    )
    matched: Expression = select(beyond.c.matched).scalar_subquery()
    stages = [probed]
    if asks_index(target, query):
        crowded = select(question.c.crowded).scalar_subquery()
        asked = (crowded, matched.is_not(None))
        stages.append(nearest_terms(target, query, question, most, pending, *asked))
        enough = rows_among(target, stages[-1]) >= depth
        matched = case((enough, null()), else_=matched)
    others = _best_matches(target, query, question, matched, most, pending)
    others = others.cte(query.named("others"))
    near = union_all(*(select(*stage.c) for stage in (*stages, others))).subquery("near")
    rows = best_chunk(target, near, near.c.score.desc(), near.c.score).cte(
        query.named("near_match")
    )
    found_short = _is_short(target, rows, (probed, others), depth, most).label("short")
    # MATERIALIZED: it is read twice and computed once
    shortage = select(found_short).cte(query.named("shortage")).prefix_with("MATERIALIZED")
    short = select(shortage.c.short).scalar_subquery()
    all_rows = _every_match(target, query, question, pending, only_if=short)
    fresh = cast(null(), Text).label("fresh")
    return [select(*rows.c, fresh).where(~short), select(*all_rows.c, fresh).where(short)]


def _waiting_rows(target: Target, query: BoundQuery, question: CTE, pending: CTE) -> Select[Any]:
    """The rows that match as they are now, each of one chunk."""
    score = score_of(pending, question).label("score")
    chunk = literal(0, Integer).label("chunk_seq")
    waiting = select(*target.key_of(pending), chunk, score, pending.c.chunk.label("fresh"))
    return waiting.where(score > 0, *asked_of(target, query, pending))


def _best_matches(
    target: Target,
    query: BoundQuery,
    question: CTE,
    matched: Expression,
    most: Expression,
    pending: CTE | None,
) -> Any:
    """The best chunks that match, of rows that pass the filters.

    The source is looked up chunk by chunk, best first, until there are enough: LATERAL with a
    LIMIT, since a planner that thinks little of the matches would join them all before.
    """
    chunk = target.chunk
    score = score_of(chunk, question).label("score")
    order = [score.desc(), *target.key_of(chunk), chunk.c.chunk_seq]
    matching = (
        select(*target.key_of(chunk), chunk.c.chunk_seq, score)
        .where(chunk.c.lexemes.op("@@")(matched), *settled(target, chunk, pending))
        .order_by(*order)
        .subquery("scored")
    )
    row = target.row_of(matching, query).lateral("found")
    best = [matching.c.score.desc(), *target.key_of(matching), matching.c.chunk_seq]
    return select(*matching.c).select_from(matching).join(row, true()).order_by(*best).limit(most)


def _score_at(target: Target, chunks: CTE, place: Expression) -> Any:
    """The score of the row at ``place``; null where there are fewer."""
    best = (
        select(func.max(chunks.c.score).label("score"))
        .group_by(*target.key_of(chunks))
        .subquery("row_score")
    )
    return (
        select(best.c.score).order_by(best.c.score.desc()).offset(place - 1).limit(1)
    ).scalar_subquery()


def _is_short(
    target: Target,
    rows: CTE,
    stages: tuple[CTE, ...],
    depth: Expression,
    most: Expression,
) -> Expression:
    """Whether a stage that was cut, since rows have many chunks, may have lost one of the best."""
    cut = []
    for stage in stages:
        last = case((func.count() == most, func.min(stage.c.score)), else_=0.0)
        cut.append(select(last).select_from(stage).scalar_subquery())
    return func.coalesce(_score_at(target, rows, depth), 0.0) < func.greatest(*cut)


def _every_match(
    target: Target, query: BoundQuery, question: CTE, pending: CTE | None, *, only_if: Expression
) -> CTE:
    """Every chunk that matches, collapsed to rows; nothing is read unless ``only_if`` holds."""
    score = score_of(target.chunk, question).label("score")
    chunks = (
        target.chunks_of_source(query, score)
        .where(
            has_any_word(target.chunk, question),
            only_if,
            *settled(target, target.chunk, pending),
        )
        .subquery("matching_chunk")
    )
    rows = best_chunk(target, chunks, chunks.c.score.desc(), chunks.c.score).subquery("every")
    order = [rows.c.score.desc(), *target.key_of(rows)]
    return (
        select(*rows.c).order_by(*order).limit(lexical_depth(query)).cte(query.named("every_match"))
    )
