"""The operations in revisions written by hand: offline as online, and beside other transactions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import stamina
from sqlalchemy import MetaData, String

from embedsql import DeclarationError, IndexNotFoundError, SchemaVersionError, schema, sqlfile
from embedsql.database import connect
from embedsql.installation import require_installed
from tests.everyday import cases
from tests.factories import drain, verify_all
from tests.migration.application import Application, article, declare, operations_in, schema_of
from tests.servers import dbname, run_program

TABLE = "op.create_table('article', sa.Column('id', sa.BigInteger, primary_key=True), \
sa.Column('title', sa.Text), sa.Column('body', sa.Text))"
DECLARED = "'article_search', 'article', key={'id': 'bigint'}, text=['title', 'body'], \
model='hash:64', dimensions=64"

# an operation, and what takes it back
OPERATIONS = [
    (
        f"op.create_vector_index({DECLARED})",
        f"op.drop_vector_index({DECLARED})",
    ),
    (
        f"op.create_vector_index({DECLARED}); op.rebuild_vector_index({DECLARED}, "
        "hnsw=Hnsw(m=24), before={'hnsw': Hnsw()})",
        f"op.rebuild_vector_index({DECLARED}, before={{'hnsw': Hnsw(m=24)}}); "
        f"op.drop_vector_index({DECLARED})",
    ),
    (
        f"op.change_semantic_index({DECLARED}, lexical=None, before={{'lexical': 'english'}})",
        f"op.change_semantic_index({DECLARED}, before={{'lexical': None}})",
    ),
    (
        f"op.change_semantic_index({DECLARED}, notify=False, before={{'notify': True}})",
        f"op.change_semantic_index({DECLARED}, before={{'notify': False}})",
    ),
    (f"op.repair_semantic_index({DECLARED})", f"op.repair_semantic_index({DECLARED})"),
    (f"op.suspend_semantic_index({DECLARED})", f"op.resume_semantic_index({DECLARED})"),
    (f"op.drop_semantic_index({DECLARED})", f"op.create_semantic_index({DECLARED})"),
]


@pytest.fixture
def made(application: Application) -> Application:
    """An application with an article table and a semantic index, both empty."""
    write_first(application)
    application.upgrade()
    return application


def write_first(application: Application) -> None:
    application.write("op.install_embedsql(version=1)", "op.uninstall_embedsql(version=1)")
    application.write(TABLE, "op.drop_table('article')")
    application.write(
        f"op.create_semantic_index({DECLARED})", f"op.drop_semantic_index({DECLARED})"
    )


def run_script(database: str, folder: Path, script: str) -> None:
    path = folder / "script.sql"
    path.write_text(script)
    run_program(
        "psql", dbname(database), "--quiet", "--set=ON_ERROR_STOP=1", "--no-psqlrc", "-f", path
    )


@pytest.mark.parametrize("operations", cases(OPERATIONS, *OPERATIONS[::3]))
def test_every_operation_is_reversible_and_prints_what_it_does(
    new_application: Callable[..., Application],
    new_database: Callable[..., str],
    tmp_path: Path,
    operations: tuple[str, str],
) -> None:
    upgrade, downgrade = operations
    online, other = new_application(), new_database()
    write_first(online)
    online.write(upgrade, downgrade, "from embedsql import Hnsw")
    run_script(other, tmp_path, online.printed("head"))
    online.upgrade("0003")
    before = online.schema()
    online.upgrade()
    assert schema_of(other) == online.schema()
    online.downgrade()
    assert online.schema() == before
    run_script(other, tmp_path, online.printed("0004:0003", down=True))
    assert schema_of(other) == before


def test_a_rebuilt_vector_index_answers_before_and_after(made: Application) -> None:
    with connect(made.database) as connection:
        connection.execute("INSERT INTO article VALUES (1, 'one', 'first')")
    drain(made.database)
    made.write(
        f"op.rebuild_vector_index({DECLARED}, hnsw=Hnsw(m=24), before={{'hnsw': Hnsw()}})",
        imports="from embedsql import Hnsw",
    )
    made.upgrade()
    assert "m='24'" in made.schema()
    assert drain(made.database).saved == 0
    assert verify_all(made.database).ok


def test_a_rebuild_that_would_need_new_vectors_is_refused(made: Application) -> None:
    made.write(f"op.rebuild_vector_index({DECLARED}, before={{'model': 'hash:32'}})")
    with pytest.raises(DeclarationError, match=r"use op\.change_semantic_index"):
        made.upgrade()


def test_an_index_that_is_not_there_is_named(made: Application) -> None:
    other = DECLARED.replace("article_search", "other_search")
    made.write(f"op.create_vector_index({other})")
    with pytest.raises(IndexNotFoundError, match="other_search"):
        made.upgrade()


def test_a_table_that_is_not_there_is_named(made: Application) -> None:
    made.write("op.create_semantic_index(" + DECLARED.replace("'article'", "'none'") + ")")
    with pytest.raises(DeclarationError, match=r"no table public\.none"):
        made.upgrade()


@contextmanager
def held(database: str, statement: str) -> Iterator[psycopg.Connection]:
    """An open transaction of the application that has run a statement."""
    with psycopg.connect(database) as connection:
        connection.execute(statement.encode())
        yield connection
        connection.rollback()


def test_readers_of_the_table_keep_no_operation_waiting(made: Application) -> None:
    for operation in ("drop", "create", "repair"):
        made.write(f"op.{operation}_semantic_index({DECLARED})")
    made.upgrade("0004")
    with held(made.database, "SELECT * FROM article"):
        made.upgrade()
    assert "embedsql_article_search_insert" in made.schema()


def test_an_open_writer_is_waited_for_while_others_go_on(made: Application) -> None:
    made.downgrade()
    writer = psycopg.connect(made.database)
    writer.execute("INSERT INTO article VALUES (1, 'one', 'first')")
    upgrade = threading.Thread(target=made.upgrade, daemon=True)
    upgrade.start()
    with connect(made.database) as other:
        while not waits(other):
            time.sleep(0.02)
        # behind the waiting CREATE TRIGGER, but not for as long as the writer is open
        other.execute("INSERT INTO article VALUES (2, 'two', 'second')")
        assert upgrade.is_alive()
        writer.commit()
        writer.close()
        upgrade.join(120)
        assert not upgrade.is_alive()
    assert drain(made.database).saved == 2
    assert verify_all(made.database).ok


def waits(connection: psycopg.Connection) -> bool:
    found = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'article'::regclass)"
    ).fetchone()
    return found is not None and bool(found[0])


def test_a_table_that_stays_locked_is_left_as_it_was(
    made: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedsql.alembic.running.LOCK_TIMEOUT", "50ms")
    made.downgrade()
    before = made.schema()
    stamina.set_testing(True, attempts=2)
    try:
        with (
            held(made.database, "INSERT INTO article VALUES (1, 'one', 'first')"),
            pytest.raises(DeclarationError, match="stayed locked"),
        ):
            made.upgrade()
    finally:
        stamina.set_testing(False)
    assert made.schema() == before


def test_the_lock_timeout_ends_with_the_operation(made: Application) -> None:
    made.write(
        "op.execute(\"SET LOCAL lock_timeout = '7s'\")\n    "
        f"op.repair_semantic_index({DECLARED})\n    "
        "assert op.get_bind().exec_driver_sql('SHOW lock_timeout').scalar() == '7s'"
    )
    made.upgrade()


def test_a_text_columns_type_may_be_altered(application: Application) -> None:
    declare(article(application.metadata))
    application.revise()
    application.upgrade()
    with connect(application.database) as connection:
        connection.execute("INSERT INTO article VALUES (1, 'one', 'first')")
    drain(application.database)
    before = application.schema()
    application.metadata = MetaData()
    table = article(application.metadata)
    table.c.body.type = String(500)
    declare(table)
    revision = application.revise()
    assert operations_in(revision) == [
        "suspend_semantic_index",
        "alter_column",
        "resume_semantic_index",
    ]
    application.upgrade()
    assert application.drift() is None
    with connect(application.database) as connection:
        connection.execute("UPDATE article SET body = 'second'")
    assert drain(application.database).saved == 1
    application.downgrade()
    assert application.schema() == before


def test_the_kits_schema_is_upgraded_between_versions(
    made: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(article(made.metadata))
    before = made.schema()
    scripts = {
        "v02_second.sql": "CREATE TABLE embedsql.second (id int);\n\n"
        "UPDATE embedsql.installation SET version = 2;\n",
        "v02_down.sql": "DROP TABLE embedsql.second;\n\n"
        "UPDATE embedsql.installation SET version = 1;\n",
    }
    read = sqlfile.read
    monkeypatch.setitem(schema.UP, 2, ("second",))
    monkeypatch.setattr(schema, "LATEST", 2)
    monkeypatch.setattr(
        schema, "read", lambda package, name: scripts.get(name) or read(package, name)
    )
    with connect(made.database) as connection, pytest.raises(SchemaVersionError, match="needs 2"):
        require_installed(connection)  # a newer worker on the older schema
    revision = made.revise()
    assert "op.install_embedsql(version=2, upgrade_from=1)" in revision
    assert "op.uninstall_embedsql(version=2, downgrade_to=1)" in revision
    made.upgrade()
    assert "embedsql.second" in made.schema()
    assert made.drift() is None
    monkeypatch.setattr(schema, "LATEST", 1)
    with connect(made.database) as connection, pytest.raises(SchemaVersionError, match="newer"):
        require_installed(connection)  # an older worker on the newer schema
    monkeypatch.setattr(schema, "LATEST", 2)
    made.downgrade()
    assert made.schema() == before


RENAME = "op.alter_column('article', 'id', new_column_name='number')"
DROP = f"op.drop_semantic_index({DECLARED}, keep_privileges=True)"
CREATE = "op.create_semantic_index({}, keep_privileges=True)".format(
    DECLARED.replace("'id'", "'number'")
)


@pytest.mark.parametrize(
    "revisions",
    [
        [f"{DROP}; {RENAME}; {CREATE}"],
        [RENAME, f"{DROP}; {CREATE}"],
    ],
    ids=["at once", "the index afterwards"],
)
def test_a_column_of_the_key_is_renamed_between_a_drop_and_a_creation(
    made: Application, revisions: list[str]
) -> None:
    with connect(made.database) as connection:
        connection.execute("INSERT INTO article VALUES (1, 'a', 'b')")
    drain(made.database)
    for revision in revisions:
        made.write(revision)
    made.upgrade()

    with connect(made.database) as connection:
        connection.execute("INSERT INTO article VALUES (2, 'c', 'd')")
    assert drain(made.database).saved == 2
    with connect(made.database) as connection:
        found = connection.execute("SELECT number FROM article_search ORDER BY 1")
        assert found.fetchall() == [(1,), (2,)]
