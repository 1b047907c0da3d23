"""A model change from beginning to end, cut off anywhere, and taken back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from embedsql import DeclarationError, IndexSpec, ModelChangeError, registry
from embedsql.changelog import ChangeLog
from embedsql.database import connect
from embedsql.declare import drop_index
from embedsql.reembed import Generations, ModelChange, start
from embedsql.registered import RegisteredSearch
from embedsql.registry import RegisteredIndex
from embedsql.requeue import dead_letters
from embedsql.worker import WorkerOptions
from tests.everyday import cases
from tests.factories import (
    add_index,
    create_article_table,
    drain,
    stored_chunks,
    verify_all,
)
from tests.integration.test_keys_and_names import LEFTOVERS

NAME = "article_search"
ROWS = 60
OPTIONS = WorkerOptions(poll_interval=0.05)


@pytest.fixture
def index(connection: psycopg.Connection, database: str) -> RegisteredIndex:
    """Sixty rows, embedded by the old model."""
    create_article_table(connection)
    made = add_index(connection)
    connection.execute(
        "INSERT INTO article (title, body) "
        "SELECT 'title ' || n, 'word' || n || ' of row ' || n FROM generate_series(1, %s) AS n",
        [ROWS],
    )
    drain(database)
    return made


@pytest.fixture
def change(database: str, index: RegisteredIndex) -> Iterator[ModelChange]:
    with ModelChange(database, NAME, OPTIONS) as opened:
        yield opened


def following(spec: IndexSpec, **other: Any) -> IndexSpec:
    """The same index by a model of other dimensions and another vector type."""
    values: dict[str, Any] = {
        "model": "hash:96",
        "dimensions": 96,
        "quantization": "halfvec",
    } | other
    return replace(spec, **values)


def whole(change: ModelChange, spec: IndexSpec) -> None:
    change.begin(spec)
    change.fill()
    change.compare()
    change.switch()


def found(database: str, query: str) -> list[Any]:
    with RegisteredSearch(database, NAME) as searcher:
        return [key for key, _ in searcher.search(query, mode="dense", limit=3).hits]


def states(connection: psycopg.Connection) -> dict[int, str]:
    return dict(
        connection.execute(
            "SELECT generation, state FROM embedsql.semantic_index ORDER BY 1"
        ).fetchall()
    )


def vector_type(connection: psycopg.Connection) -> str:
    row = connection.execute(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = 'article_search'::regclass AND attname = 'embedding'"
    ).fetchone()
    assert row is not None
    return str(row[0])


def test_an_index_passes_to_another_model_with_another_vector_type(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, change: ModelChange
) -> None:
    whole(change, following(index.spec))

    assert states(connection) == {1: "retired", 2: "serving"}
    assert registry.find_index(connection, NAME).spec.model == "hash:96"
    assert vector_type(connection) == "halfvec(96)"
    assert found(database, "word7 of row 7")[0] == 7
    assert connection.execute("SELECT FROM article_search").rowcount == ROWS
    assert verify_all(database).ok


def test_the_generation_before_is_fed_until_it_is_dropped(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, change: ModelChange
) -> None:
    whole(change, following(index.spec))
    connection.execute("UPDATE article SET body = 'quite another text' WHERE id = 1")
    drain(database)

    assert (1, "title 1\n\nquite another text") in stored_chunks(connection, index)
    change.finish()

    assert states(connection) == {2: "serving"}
    assert connection.execute(
        "SELECT to_regclass('embedsql.article_search_chunk_1')"
    ).fetchone() == (None,)
    connection.execute("UPDATE article SET body = 'and yet another' WHERE id = 1")
    drain(database)
    assert found(database, "and yet another")[0] == 1
    assert verify_all(database).ok


def test_a_rollback_is_as_fresh_as_what_it_replaces(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, change: ModelChange
) -> None:
    whole(change, following(index.spec))
    connection.execute("INSERT INTO article (id, title, body) VALUES (1000, 'new', 'zebra')")
    drain(database)

    change.rollback()

    assert states(connection) == {1: "serving", 2: "ready"}
    assert vector_type(connection) == "vector(64)"
    assert found(database, "zebra")[0] == 1000
    change.switch()
    assert states(connection) == {1: "retired", 2: "serving"}
    change.rollback()
    change.abort()
    assert states(connection) == {1: "serving"}
    assert found(database, "zebra")[0] == 1000
    assert verify_all(database).ok


def test_an_abort_leaves_what_serves_untouched(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, change: ModelChange
) -> None:
    before = stored_chunks(connection, index)
    change.begin(following(index.spec))

    change.abort()

    assert states(connection) == {1: "serving"}
    assert stored_chunks(connection, index) == before
    assert verify_all(database).ok
    with pytest.raises(ModelChangeError, match="no change of 'article_search' is under way"):
        change.abort()


class Cut(BaseException):
    """The process is gone."""


class Cutting(psycopg.Connection[Any]):
    """A connection that is cut off just after its n-th commit of a change."""

    left = 0

    def transaction(self, *given: Any, **named: Any) -> Any:
        nested = self.info.transaction_status is not TransactionStatus.IDLE
        inner = super().transaction(*given, **named)

        @contextlib.contextmanager
        def counted() -> Iterator[Any]:
            with inner as opened:
                yield opened
            if not nested:
                self._count()

        return counted()

    def execute(self, query: Any, *given: Any, **named: Any) -> Any:
        done = super().execute(query, *given, **named)
        idle = self.info.transaction_status is TransactionStatus.IDLE
        if idle and str(query).startswith("UPDATE"):
            self._count()
        return done

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Cut


@contextlib.contextmanager
def cut_after(change: ModelChange, commits: int) -> Iterator[None]:
    """Cut a change off just after a commit, or not at all where it has fewer."""
    connection = change._connection
    connection.__class__ = Cutting
    connection.left = commits  # type: ignore[attr-defined]
    try:
        yield
    except Cut:
        return
    assert connection.left > 0  # type: ignore[attr-defined]


COMMITS = 8  # of a change from its beginning to the removal of what was before


def test_a_change_has_as_many_commits_as_are_cut_off_below(
    database: str, index: RegisteredIndex, change: ModelChange
) -> None:
    with cut_after(change, 1000):
        whole(change, following(index.spec))
        change.finish()

    assert 1000 - change._connection.left == COMMITS  # type: ignore[attr-defined]


@pytest.mark.parametrize("commits", cases(range(1, COMMITS + 1), COMMITS // 2))
def test_a_change_that_is_cut_off_after_any_commit_goes_on(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, commits: int
) -> None:
    spec = following(index.spec)
    with ModelChange(database, NAME, OPTIONS) as first, cut_after(first, commits):
        whole(first, spec)
        first.finish()
        pytest.fail("it was not cut off")
    connection.execute("UPDATE article SET body = 'changed meanwhile' WHERE id = 3")

    with ModelChange(database, NAME, OPTIONS) as second:
        both = second.generations
        if both.serving.generation == 1:
            whole(second, spec)
        both = second.generations
        if both.previous is not None or both.dropping:
            second.finish()

    drain(database)
    assert states(connection) == {2: "serving"}
    assert verify_all(database).ok
    assert found(database, "changed meanwhile")[0] == 3


def test_a_removal_that_was_cut_off_is_ended_by_the_next_step(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, change: ModelChange
) -> None:
    change.begin(following(index.spec))
    registry.set_state(connection, change.generations.require_next().index_id, "dropping")

    change.abort()

    assert states(connection) == {1: "serving"}
    assert change.begin(following(index.spec)).generation == 2


def test_another_change_under_way_is_not_overridden(
    connection: psycopg.Connection, index: RegisteredIndex, change: ModelChange
) -> None:
    change.begin(following(index.spec))

    with pytest.raises(ModelChangeError, match="under way and declared otherwise"):
        change.begin(following(index.spec, model="hash:32", dimensions=32))
    assert change.begin(following(index.spec)).generation == 2


@pytest.mark.exhaustive
def test_a_third_generation_waits_for_the_first_to_go(
    index: RegisteredIndex, change: ModelChange
) -> None:
    whole(change, following(index.spec))

    with pytest.raises(ModelChangeError, match="generation 1 of 'article_search' is still kept"):
        change.begin(following(index.spec, model="hash:32", dimensions=32))
    change.finish()
    assert change.begin(following(index.spec, model="hash:32", dimensions=32)).generation == 3


def test_what_would_change_nothing_is_refused(index: RegisteredIndex, change: ModelChange) -> None:
    with pytest.raises(ModelChangeError, match="nothing would change"):
        change.begin(index.spec)


def test_a_column_that_is_not_there_is_refused_before_anything_is_made(
    connection: psycopg.Connection, index: RegisteredIndex, change: ModelChange
) -> None:
    with pytest.raises(DeclarationError, match="no column 'nothing'"):
        change.begin(following(index.spec, text=("nothing",)))
    assert states(connection) == {1: "serving"}


def test_a_switch_waits_for_the_backfill(index: RegisteredIndex, change: ModelChange) -> None:
    change.begin(following(index.spec))

    with pytest.raises(ModelChangeError, match="still being built"):
        change.switch()


def test_a_row_that_fails_by_the_new_model_alone_holds_the_switch_up(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, change: ModelChange
) -> None:
    change.begin(following(index.spec))
    change.fill()
    change.accept()
    following_id = change.generations.require_next().index_id
    connection.execute(
        "INSERT INTO embedsql.failure (index_id, key, version, attempts, dead, error_class, error) "
        "VALUES (%s, '5', 1, 5, true, 'TextRejectedError', 'no')",
        [following_id],
    )

    with pytest.raises(ModelChangeError, match=r"1 rows are dead letters of .* 2 alone"):
        change.switch()

    (letter,) = dead_letters(connection, NAME)
    assert (letter["key"], letter["generation"]) == (5, 2)
    assert change.status()["next"]["dead"] == 1
    assert states(connection) == {1: "serving", 2: "ready"}
    change.switch(force=True)
    assert states(connection) == {1: "retired", 2: "serving"}


def test_dead_letters_of_the_next_generation_are_retried_by_the_index_name(
    connection: psycopg.Connection, index: RegisteredIndex, change: ModelChange
) -> None:
    next_one = change.begin(following(index.spec))
    connection.execute(
        "INSERT INTO embedsql.failure (index_id, key, version, attempts, dead, error_class, error) "
        "VALUES (%s, '5', 1, 5, true, 'TextRejectedError', 'no')",
        [next_one.index_id],
    )

    assert ChangeLog(next_one, "test").revive(connection) == 1
    change.fill()
    change.accept()
    change.switch()
    assert dead_letters(connection, None) == []


def test_a_truncate_and_deletes_reach_every_generation(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, change: ModelChange
) -> None:
    change.begin(following(index.spec))
    change.fill()
    connection.execute("DELETE FROM article WHERE id <= 10")
    drain(database)
    after = change.generations.require_next()
    assert len(stored_chunks(connection, after)) == ROWS - 10

    connection.execute("TRUNCATE article")

    assert stored_chunks(connection, index) == stored_chunks(connection, after) == []
    connection.execute("INSERT INTO article (id, body) VALUES (1, 'alone')")
    change.accept()
    change.switch()
    drain(database)
    assert found(database, "alone") == [1]
    assert verify_all(database).ok


@pytest.mark.exhaustive
def test_a_bulk_insert_is_backfilled_in_both_generations(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, change: ModelChange
) -> None:
    change.begin(following(index.spec))
    change.fill()
    connection.execute(
        "INSERT INTO article (title, body) "
        "SELECT 'bulk', 'load ' || n FROM generate_series(1, 1500) AS n"
    )
    change.accept()

    change.switch()

    drain(database)
    assert connection.execute("SELECT FROM article_search").rowcount == ROWS + 1500
    assert verify_all(database).ok


@pytest.mark.parametrize("switched", [False, True])
def test_a_drop_removes_every_generation(
    connection: psycopg.Connection,
    index: RegisteredIndex,
    change: ModelChange,
    switched: bool,
) -> None:
    if switched:
        whole(change, following(index.spec))
    else:
        change.begin(following(index.spec))

    drop_index(connection, NAME)

    assert connection.execute(LEFTOVERS).fetchall() == []
    assert connection.execute("SELECT FROM embedsql.semantic_index").rowcount == 0


def test_the_view_of_somebody_else_is_in_the_way_of_another_type(
    connection: psycopg.Connection, index: RegisteredIndex, change: ModelChange
) -> None:
    connection.execute("CREATE VIEW report AS SELECT id, embedding FROM article_search")

    with pytest.raises(ModelChangeError, match="view report depend on the views"):
        change.begin(following(index.spec))

    assert states(connection) == {1: "serving"}


def test_the_view_of_somebody_else_stays_where_the_type_does(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, change: ModelChange
) -> None:
    connection.execute("CREATE VIEW report AS SELECT id, embedding FROM article_search")
    before = connection.execute("SELECT embedding FROM report WHERE id = 1").fetchone()

    whole(change, replace(index.spec, text=("body",)))

    assert connection.execute("SELECT FROM report").rowcount == ROWS
    assert connection.execute("SELECT embedding FROM report WHERE id = 1").fetchone() != before
    assert verify_all(database).ok


@pytest.mark.exhaustive
def test_a_model_that_is_not_to_be_had_is_said_and_leaves_the_old_one_at_work(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, change: ModelChange
) -> None:
    change.begin(following(index.spec, model="sentence-transformers/no-such-model-anywhere"))

    with pytest.raises(ModelChangeError, match=r"workers leave .* generation 2 alone"):
        change.fill()

    connection.execute("UPDATE article SET body = 'still at work' WHERE id = 2")
    report = drain(database)
    assert list(report.problems) == ["article_search generation 2"]
    assert found(database, "still at work")[0] == 2
    assert registry.find_index(connection, NAME).problem is None


def test_a_stale_declaration_of_the_registry_is_seen(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, change: ModelChange
) -> None:
    next_one = change.begin(following(index.spec))
    with connect(database) as other:
        start.remove(other, next_one)

    with pytest.raises(ModelChangeError, match="no change"):
        change.fill()
    assert Generations.of(connection, NAME).next is None
