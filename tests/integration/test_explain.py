from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import BigInteger, Column, Date, MetaData, Table, Text, Uuid, func
from sqlalchemy.engine import Engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from embedsql import QueryError, SearchTuning, SemanticIndex, TextRejectedError
from embedsql.embedders.hashing import HashEmbedder
from embedsql.explain import Explanation, Reason, RowExplanation
from embedsql.grants import grant_statements
from embedsql.reembed import ModelChange
from embedsql.registry import RegisteredIndex
from embedsql.search.scores import BONUS, STANDING_OUT
from embedsql.worker import WorkerOptions
from tests.factories import (
    HandWorker,
    RecordingEmbedder,
    add_index,
    create_article_table,
    drain,
)


class Base(DeclarativeBase):
    type_annotation_map = {int: BigInteger}


class Article(Base):
    __tablename__ = "article"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int]
    title: Mapped[str | None]
    body: Mapped[str | None]


article_search = SemanticIndex(
    "article_search", Article, text=("title", "body"), model="hash:64", dimensions=64
)

BODIES = [
    "amber birch cedar",
    "amber birch delta",
    "amber flint grove",
    "heath ivory jetty",
    "karst larch mango",
]


@pytest.fixture
def index(connection: psycopg.Connection, database: str) -> RegisteredIndex:
    """Articles 1 to 5, embedded."""
    create_article_table(connection)
    insert(connection, *BODIES)
    made = add_index(connection)
    drain(database)
    return made


@pytest.fixture
def session(sqlalchemy_engine: Engine) -> Iterator[Session]:
    with Session(sqlalchemy_engine) as opened:
        yield opened


def insert(connection: psycopg.Connection, *bodies: str | None) -> None:
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO article (body) VALUES (%s)", [(body,) for body in bodies])


def row_of(session: Session, key: Any, text: str = "amber birch", **options: Any) -> RowExplanation:
    row = article_search.explain(session, text, key=key, **options).row
    assert row is not None
    return row


def only_reason(row: RowExplanation, *, shown: bool = False) -> Reason:
    assert row.shown == shown  # words find a row that waits, all the same
    assert len(row.reasons) == 1, row.reasons
    return row.reasons[0]


@pytest.mark.parametrize("fusion", ["calibrated", "rrf", "convex"])
def test_the_shares_of_the_lanes_add_up_to_the_score_that_the_search_gives(
    index: RegisteredIndex, session: Session, fusion: Any
) -> None:
    options: dict[str, Any] = {"tuning": SearchTuning(fusion=fusion), "limit": 4}
    rows = session.execute(article_search.search("amber birch cedar", **options)).all()

    found = article_search.explain(session, "amber birch cedar", **options)

    assert [(hit.key, hit.place) for hit in found.hits] == [
        (article.id, place) for place, (article, _) in enumerate(rows, 1)
    ]
    for hit, (_, said) in zip(found.hits, rows, strict=True):
        assert hit.dense.share is not None
        assert hit.lexical.share is not None
        assert hit.score == pytest.approx(said.score)
        assert hit.dense.share + hit.lexical.share == pytest.approx(said.score)
        assert (hit.dense.rank, hit.lexical.rank) == (said.dense_rank, said.lexical_rank)


def test_the_words_that_matched_add_up_to_the_bm25_score(
    index: RegisteredIndex, session: Session
) -> None:
    found = article_search.explain(session, "amber birch cedar zebra", mode="lexical")

    first = found.hits[0]
    assert first.key == 1
    assert {term.term for term in first.terms} == {"amber", "birch", "cedar"}
    assert sum(term.score for term in first.terms) == pytest.approx(first.lexical.value, rel=1e-5)
    idf = {term.term: term.idf for term in first.terms}
    assert idf["cedar"] > idf["birch"] > idf["amber"]  # in 1, 2 and 3 of the articles
    assert [term.term for term in found.hits[-1].terms] == ["amber"]
    assert "cedar" in first.says


def test_a_calibrated_share_is_in_deviations_of_the_calibration(
    index: RegisteredIndex, session: Session
) -> None:
    found = article_search.explain(session, "amber birch cedar")

    hit = found.hits[0]
    assert found.similarity_mean is not None
    assert found.similarity_deviation is not None
    assert hit.dense.value is not None
    apart = (hit.dense.value - found.similarity_mean) / found.similarity_deviation
    expected = apart + BONUS * max(apart - STANDING_OUT, 0) ** 2
    assert hit.dense.share == pytest.approx(expected)


@pytest.mark.parametrize("mode", ["hybrid", "lexical"])
def test_the_words_of_a_row_that_waits_are_those_it_has_now(
    connection: psycopg.Connection, index: RegisteredIndex, session: Session, mode: Any
) -> None:
    connection.execute("UPDATE article SET body = 'heath quartz amber' WHERE id = 1")
    insert(connection, "quartz and zircon")

    found = article_search.explain(session, "quartz birch heath", mode=mode)

    waits = {hit.key: hit for hit in found.hits if hit.pending}
    words = {key: {term.term for term in hit.terms} for key, hit in waits.items()}
    assert words == {1: {"quartz", "heath"}, 6: {"quartz"}}
    for hit in waits.values():
        assert sum(term.score for term in hit.terms) == pytest.approx(hit.lexical.value, rel=1e-5)
        assert "of its text as it waits to be embedded" in hit.says
        assert "no word" not in hit.says
    (stored,) = (hit for hit in found.hits if hit.key == 2)
    assert ({term.term for term in stored.terms}, stored.pending) == ({"birch"}, False)


def test_words_are_explained_without_a_model(
    connection: psycopg.Connection, session: Session, index: RegisteredIndex
) -> None:
    unheard_of = SemanticIndex(
        "article_search", Article, text=("title", "body"), model="openai:none", base_url="http://x"
    )

    found = unheard_of.explain(session, "amber birch", mode="lexical", key=4)

    assert [hit.key for hit in found.hits] == [1, 2, 3]
    assert found.row is not None
    assert only_reason(found.row).code == "no_word"
    vector = HashEmbedder("hash:64").embed_queries(["amber"])[0]
    assert unheard_of.explain(session, vector=vector, mode="dense", key=4).row is not None
    assert "embedder" not in vars(unheard_of)


def test_a_boost_is_told_apart_from_the_lanes(index: RegisteredIndex, session: Session) -> None:
    boost = func.coalesce(Article.id, 0) * 0.5

    hits = article_search.explain(session, "amber birch", boosts=[boost]).hits

    assert {hit.key: round(hit.boost, 6) for hit in hits} == {n: n * 0.5 for n in range(1, 6)}
    assert "by boosts" in hits[0].says


def test_a_dense_search_is_explained_without_words(
    index: RegisteredIndex, session: Session
) -> None:
    found = article_search.explain(session, "amber birch", mode="dense", limit=2)

    assert found.strategy in ("ann", "exact")
    assert found.fusion is None
    for hit in found.hits:
        assert hit.dense.share == hit.score == hit.dense.value
        assert hit.lexical.share is None
        assert hit.terms == []


def test_a_row_that_is_shown_is_said_to_be(index: RegisteredIndex, session: Session) -> None:
    row = row_of(session, 1, "amber birch cedar")

    assert row.shown
    assert row.place == 1
    assert row.reasons == []
    assert row.dense is not None
    assert row.dense.rank == 1
    assert row.lexical is not None
    assert row.lexical.rank == 1


def test_a_key_that_the_source_does_not_have_is_absent(
    index: RegisteredIndex, session: Session
) -> None:
    assert only_reason(row_of(session, 99)).code == "absent"


@pytest.fixture
def role(connection: psycopg.Connection, index: RegisteredIndex) -> Iterator[str]:
    """One that may search, and sees the rows of tenant 2."""
    name = f"tenant_{uuid4().hex[:8]}"
    connection.execute(f"CREATE ROLE {name}")
    for statement in grant_statements(index.spec, name, "search"):
        connection.execute(statement)
    connection.execute("ALTER TABLE article ENABLE ROW LEVEL SECURITY")
    connection.execute("CREATE POLICY own ON article USING (tenant_id = 2)")
    connection.execute("UPDATE article SET tenant_id = 2 WHERE id IN (2, 5)")
    yield name
    connection.execute(f"DROP OWNED BY {name}")
    connection.execute(f"DROP ROLE {name}")


def test_a_row_that_a_policy_hides_is_not_given_away(role: str, session: Session) -> None:
    with session.begin():
        session.connection().exec_driver_sql(f"SET LOCAL ROLE {role}")
        hidden, absent, seen = (row_of(session, key) for key in (1, 99, 2))

    assert only_reason(hidden).code == "absent_or_hidden"
    assert only_reason(hidden).says == only_reason(absent).says
    assert seen.shown
    assert seen.reasons == []


def test_a_role_that_only_searches_is_told_that_it_may_not_look_into_the_queue(
    role: str, connection: psycopg.Connection, session: Session
) -> None:
    connection.execute("INSERT INTO article (id, tenant_id, body) VALUES (6, 2, 'amber birch')")
    with session.begin():
        session.connection().exec_driver_sql(f"SET LOCAL ROLE {role}")
        row = row_of(session, 6)

    assert only_reason(row, shown=True).code == "unknown"
    assert row_of(session, 6).reasons[0].code == "queued"  # its owner may


def test_each_condition_that_does_not_hold_is_named_and_no_other(
    index: RegisteredIndex, session: Session
) -> None:
    conditions = [Article.tenant_id == 1, Article.id > 3, Article.title == "Amber"]

    row = row_of(session, 1, where=conditions)

    assert not row.shown
    assert [reason.code for reason in row.reasons] == ["filtered", "filtered"]
    first, second = (reason.details for reason in row.reasons)
    assert first == {"condition": "article.id > 3", "value": False}
    assert second == {"condition": "article.title = 'Amber'", "value": None}


def test_a_blank_row_is_said_to_be_blank(
    connection: psycopg.Connection, index: RegisteredIndex, database: str, session: Session
) -> None:
    insert(connection, "  \n ")
    drain(database)

    assert only_reason(row_of(session, 6)).code == "blank"


def test_a_new_row_waits_in_the_queue_behind_others(
    connection: psycopg.Connection, index: RegisteredIndex, session: Session
) -> None:
    insert(connection, "amber one", "amber two", "amber three")
    connection.execute("UPDATE article SET body = 'amber first' WHERE id = 6")

    reason = only_reason(row_of(session, 8), shown=True)

    assert reason.code == "queued"
    assert reason.details["ahead"] == 2
    assert reason.details["logged_seconds"] >= 0
    assert "no worker runs" in reason.says


def test_a_row_in_a_workers_batch_names_the_worker(
    connection: psycopg.Connection, index: RegisteredIndex, database: str, session: Session
) -> None:
    insert(connection, "amber one")
    worker = HandWorker(database, index, "kiln", lease=60)
    worker.claim()

    reason = only_reason(row_of(session, 6), shown=True)

    assert reason.code == "leased"
    assert reason.details["worker"] == "kiln"
    assert 0 < reason.details["lease_seconds"] <= 60
    connection.execute(
        "UPDATE embedsql.article_search_batch SET leased_until = now() - interval '1 s'"
    )
    assert "ran out" in only_reason(row_of(session, 6), shown=True).says
    worker.close()


def test_a_row_that_failed_waits_for_its_next_attempt_and_then_is_dead(
    connection: psycopg.Connection, index: RegisteredIndex, database: str, session: Session
) -> None:
    insert(connection, "poison ivy")
    embedder = RecordingEmbedder(poison="poison", error=ValueError("the model chokes on it"))
    worker = HandWorker(database, index, embedder=embedder)
    worker.work()
    waiting, without_vector = row_of(session, 6).reasons
    by_words = only_reason(row_of(session, 6, "poison"), shown=True)
    session.rollback()
    connection.execute("UPDATE embedsql.failure SET next_attempt_at = now()")
    embedder.error = TextRejectedError("the model refuses it")
    worker.work()
    dead, _ = row_of(session, 6).reasons
    worker.close()

    assert (waiting.code, without_vector.code, by_words.code) == ("retry", "no_vector", "retry")
    assert waiting.details["retry_seconds"] > 0
    assert "the model chokes on it" in waiting.says
    assert dead.code == "dead"
    assert dead.details["attempts"] == 2
    assert "the model refuses it" in dead.says
    assert "embedsql dead retry" in dead.says


def test_a_row_that_the_backfill_has_not_reached_says_so(
    connection: psycopg.Connection, session: Session
) -> None:
    create_article_table(connection)
    insert(connection, *BODIES)
    add_index(connection)

    assert only_reason(row_of(session, 3)).code == "backfill"


def test_an_index_that_workers_leave_alone_is_named_with_its_problem(
    connection: psycopg.Connection, index: RegisteredIndex, session: Session
) -> None:
    insert(connection, "amber one")
    connection.execute("UPDATE embedsql.semantic_index SET problem = 'the model is not to be had'")

    reasons = row_of(session, 6).reasons

    assert [reason.code for reason in reasons] == ["queued", "stopped"]
    assert "the model is not to be had" in reasons[1].says


def test_a_row_found_by_an_older_text_is_stale(
    connection: psycopg.Connection, index: RegisteredIndex, session: Session
) -> None:
    connection.execute("UPDATE article SET body = 'something else' WHERE id = 1")

    row = row_of(session, 1, "amber birch cedar")

    assert row.shown
    assert [reason.code for reason in row.reasons] == ["queued", "stale"]
    connection.execute("DELETE FROM embedsql.article_search_log")
    unlogged = row_of(session, 1, "amber birch cedar")
    assert [reason.code for reason in unlogged.reasons] == ["stale"]
    assert "verify --repair" in unlogged.reasons[0].says


def test_a_row_whose_passages_were_lost_is_missing(
    connection: psycopg.Connection, index: RegisteredIndex, session: Session
) -> None:
    connection.execute("DELETE FROM embedsql.article_search_chunk_1 WHERE key_1 = 1")

    assert only_reason(row_of(session, 1)).code == "missing"


@pytest.mark.parametrize(
    ("text", "code", "details"),
    [
        ("amber -cedar", "excluded_word", {"word": "-cedar"}),
        ('amber -"birch cedar"', "excluded_word", {"word": '-"birch cedar"'}),
        ("amber +flint", "lacks_word", {"word": "+flint"}),
        ('amber "cedar birch"', "lacks_word", {"word": '"cedar birch"'}),
    ],
)
def test_the_word_that_a_row_has_or_lacks_is_named(
    index: RegisteredIndex, session: Session, text: str, code: str, details: dict[str, str]
) -> None:
    reason = only_reason(row_of(session, 1, text))

    assert reason.code == code
    assert reason.details == details


def test_required_words_in_different_passages_are_said_to_be_apart(
    connection: psycopg.Connection, index: RegisteredIndex, database: str, session: Session
) -> None:
    padding = ". ".join(f"Sentence number {n} of many words that say little" for n in range(200))
    insert(connection, f"Zebra. {padding}. Quagga.")
    drain(database)

    reason = only_reason(row_of(session, 6, "+zebra +quagga"))

    assert reason.code == "words_apart"
    assert reason.details == {"words": ["+zebra", "+quagga"]}


def test_a_row_below_the_cut_has_its_score_beside_the_last_shown_one(
    index: RegisteredIndex, session: Session
) -> None:
    row = row_of(session, 3, "amber birch cedar", limit=2)
    shown = article_search.explain(session, "amber birch cedar", limit=2).hits

    reason = only_reason(row)
    assert reason.code == "below_cut"
    assert row.place == reason.details["place"] > 2
    assert reason.details["last_score"] == shown[-1].score > reason.details["score"]


def test_a_row_of_an_earlier_page_is_said_to_be_there(
    index: RegisteredIndex, session: Session
) -> None:
    row = row_of(session, 1, "amber birch cedar", limit=2, offset=2)

    assert only_reason(row).code == "earlier_page"


def test_a_row_below_a_threshold_is_left_out_by_shaping(
    index: RegisteredIndex, session: Session
) -> None:
    row = row_of(session, 4, "amber birch cedar", min_similarity=0.9)

    assert only_reason(row).code == "shaped_away"


def test_a_row_outside_the_window_has_its_true_ranks(
    connection: psycopg.Connection, index: RegisteredIndex, database: str, session: Session
) -> None:
    insert(connection, *(f"amber birch cedar extra{n}" for n in range(40)))
    drain(database)
    options = {"tuning": SearchTuning(candidates=5), "limit": 5}

    row = row_of(session, 3, "amber birch cedar", **options)
    ranked = session.execute(article_search.search("amber birch cedar", mode="dense", limit=45))

    reason = only_reason(row)
    assert reason.code == "outside_window"
    true_rank = [article.id for article, _ in ranked].index(3) + 1
    assert reason.details["dense_rank"] == true_rank > 5
    assert reason.details["lexical_rank"] == 43  # the others have more of the words
    assert row.dense is not None
    assert row.dense.rank == true_rank


def test_a_near_row_that_the_approximate_index_did_not_find_is_said_to_be_near(
    connection: psycopg.Connection, database: str, session: Session
) -> None:
    create_article_table(connection)
    words = "amber birch cedar delta ember flint grove heath ivory jetty karst larch".split()
    insert(connection, *(" ".join((words * 2)[n % 12 : n % 12 + n % 7 + 2]) for n in range(300)))
    add_index(connection, quantization="bit")
    drain(database)
    index = SemanticIndex(
        "article_search",
        Article,
        text=("title", "body"),
        model="hash:64",
        dimensions=64,
        quantization="bit",
    )
    options: dict[str, Any] = {
        "mode": "dense",
        "limit": 10,
        "tuning": SearchTuning(candidates=10, oversample=1),
    }
    text = "amber cedar ember grove"

    codes = {}
    connection.execute("SET enable_indexscan = off")
    near = connection.execute(
        "SELECT id FROM article_search ORDER BY embedding <=> %s::vector LIMIT 30",
        [str(HashEmbedder("hash:64").embed_queries([text])[0].tolist())],
    )
    for (key,) in near.fetchall():
        row = index.explain(session, text, key=key, **options).row
        assert row is not None
        assert row.dense is not None
        assert row.dense.rank is not None
        if not row.shown and row.dense.rank <= 10:
            codes[key] = only_reason(row).code

    assert set(codes.values()) == {"not_found_by_index"}


def test_a_row_without_any_of_the_words_is_not_found_by_words(
    index: RegisteredIndex, session: Session
) -> None:
    assert only_reason(row_of(session, 4, "amber birch", mode="lexical")).code == "no_word"


def test_a_row_without_its_vector_is_not_found_by_meaning(
    connection: psycopg.Connection, database: str, session: Session
) -> None:
    create_article_table(connection)
    insert(connection, *BODIES)
    add_index(connection, storage="column", chunking=None)
    drain(database)
    connection.execute("UPDATE article SET embedding = NULL WHERE id = 1")
    connection.execute("DELETE FROM embedsql.article_search_log")

    row = row_of(session, 1, mode="dense")

    assert [reason.code for reason in row.reasons][-1] == "no_vector"


def test_keys_of_several_columns_are_tuples_or_mappings(
    connection: psycopg.Connection, database: str, session: Session
) -> None:
    connection.execute(
        "CREATE TABLE note (day date, place uuid, body text, PRIMARY KEY (day, place))"
    )
    where = "8f14e45f-ceea-467f-a0e6-2f5b1d9b3c11"
    connection.execute("INSERT INTO note VALUES ('2024-02-29', %s, 'amber birch')", [where])
    add_index(connection, "note", ("body",))
    drain(database)
    note = Table(
        "note",
        MetaData(),
        Column("day", Date, primary_key=True),
        Column("place", Uuid, primary_key=True),
        Column("body", Text),
    )
    index = SemanticIndex("note_search", note, text="body", model="hash:64", dimensions=64)

    for key in (("2024-02-29", where), {"place": UUID(where), "day": date(2024, 2, 29)}):
        found = index.explain(session, "amber", key=key)
        assert found.row is not None
        assert found.row.shown
    assert found.hits[0].key == {"day": date(2024, 2, 29), "place": UUID(where)}
    assert [term.term for term in found.hits[0].terms] == ["amber"]
    with pytest.raises(QueryError, match="day, place"):
        index.explain(session, "amber", key=("2024-02-29",))


def test_the_queue_of_the_generation_that_serves_is_looked_into(
    connection: psycopg.Connection, index: RegisteredIndex, database: str, session: Session
) -> None:
    with ModelChange(database, "article_search", WorkerOptions()) as change:
        change.begin(replace(index.spec, model="hash:96", dimensions=96))
        change.fill()
        change.compare()
        change.switch()
    insert(connection, "amber one")
    after = SemanticIndex(
        "article_search", Article, text=("title", "body"), model="hash:96", dimensions=96
    )

    waiting = after.explain(session, "amber birch cedar", key=6)
    session.rollback()
    connection.execute("DELETE FROM embedsql.article_search_log_2")
    unlogged = after.explain(session, "amber birch cedar", key=6)

    assert waiting.row is not None
    assert [reason.code for reason in waiting.row.reasons] == ["queued"]
    assert waiting.hits[0].key == 1
    assert {term.term for term in waiting.hits[0].terms} == {"amber", "birch", "cedar"}
    assert unlogged.row is not None
    assert [reason.code for reason in unlogged.row.reasons] == ["missing"]


def test_explaining_writes_nothing(
    index: RegisteredIndex, session: Session, connection: psycopg.Connection
) -> None:
    with session.begin():
        session.connection().exec_driver_sql("SET TRANSACTION READ ONLY")
        found = article_search.explain(session, "amber +birch -flint", key=3)

    assert isinstance(found, Explanation)
    assert found.row is not None
    assert {reason.code for reason in found.row.reasons} == {"lacks_word", "excluded_word"}
