"""The tour of ``make demo``: index Python's own documentation and ask it a few questions.

Run it from the repository root, as often as you like: ``python -m examples.demo``.
"""

from __future__ import annotations

import sys
import time
from dataclasses import astuple
from pathlib import Path

import alembic.command
import psycopg
import sqlalchemy.exc
from alembic.config import Config
from alembic.util import CommandError
from rich.console import Console
from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from embedsql import status
from embedsql.cli.options import progress_console
from embedsql.cli.progress import drain_progress
from embedsql.database import connect, engine
from embedsql.errors import EmbedsqlError
from embedsql.settings import Settings
from embedsql.worker import Worker, WorkerOptions
from examples.asking import ask, side_by_side
from examples.loading import store_docs
from examples.models import PythonDoc, python_doc_search
from examples.next_steps import say_what_next
from examples.stdlib_docs import read_stdlib_docs

CONFIGURATION = Path(__file__).parents[1] / "pyproject.toml"
QUESTIONS = {
    "run a command and capture its output": "a task, in the documentation's own words",
    "find words spelled almost alike": "a task that the documentation words differently",
    "SO_REUSEPORT": "an exact name, of which a model makes little",
    "sort things that depend on each other": "for someone who lacks the term",
    "how many days are in a month": "words that many entries share",
}
CHANGED_ROW = "textwrap.dedent"
CHANGED_DOC = "Teaches penguins to waltz on the ice while an orchestra of walruses plays."
CHANGED_QUESTION = "dancing lessons for penguins"


class DemoError(Exception):
    """The demo did not see what it should have seen."""


def main() -> int:
    """Run the tour.

    Returns:
        The exit code: 0, or another after one line on stderr that says what failed.
    """
    started = time.perf_counter()
    console = Console(highlight=False)
    try:
        run(console)
    except KeyboardInterrupt:
        return _failed("interrupted; run again, it continues where it stopped", 130)
    except (sqlalchemy.exc.DBAPIError, psycopg.Error) as error:
        return _failed(f"the database said: {getattr(error, 'orig', None) or error}")
    except (EmbedsqlError, DemoError, CommandError, OSError) as error:
        return _failed(str(error))
    console.print(f"\nAll of this took {time.perf_counter() - started:.0f} s.")
    return 0


def run(console: Console) -> None:
    """The seven steps, in order."""
    settings = Settings()
    _heading(console, "1  A PostgreSQL")
    info = open_database(console, settings)
    _heading(console, "2  Its tables: alembic upgrade head")
    started = time.perf_counter()
    alembic.command.upgrade(Config(toml_file=CONFIGURATION), "head")
    console.print("table python_doc, semantic index python_doc_search on its columns name, doc;")
    console.print(f"done in {time.perf_counter() - started:.1f} s")
    database = engine(info)
    _heading(console, "3  Rows: the documentation of Python's standard library")
    load_rows(console, database)
    _heading(console, "4  Vectors: embedsql worker --drain")
    load_model(console)
    worker = embed_rows(console, info)
    _heading(console, "5  Questions: by meaning (dense), by words (lexical), by both (hybrid)")
    ask_questions(console, database)
    _heading(console, "6  A row changes, and the answer follows")
    change_a_row(console, database, worker)
    database.dispose()
    _heading(console, "7  What to try next")
    say_what_next(console, embedded=settings.database_url is None)


def open_database(console: Console, settings: Settings) -> str:
    """Start the embedded server, unless the environment names one."""
    started = time.perf_counter()
    info = settings.conninfo()
    with connect(info) as connection:
        version = connection.info.parameter_status("server_version")
        name = connection.info.dbname
    if settings.database_url is not None:
        console.print(f"PostgreSQL {version}, the database {name} that the environment names")
    else:
        seconds = time.perf_counter() - started
        console.print(f"PostgreSQL {version}, embedded, there after {seconds:.1f} s; its data:")
        console.print(settings.embedded_server().status().data, soft_wrap=True, markup=False)
    return info


def load_rows(console: Console, database: Engine) -> None:
    """Make the table hold exactly what the source files say."""
    docs = list(read_stdlib_docs())
    if not docs:
        raise DemoError("this Python comes without the source files of its standard library")
    with Session(database) as session, session.begin():
        changes = store_docs(session, docs)
    version = ".".join(map(str, sys.version_info[:3]))
    console.print(f"{len(docs):,} modules, classes and functions of Python {version}:")
    console.print(
        f"{changes.added:,} added, {changes.changed:,} changed, {changes.removed:,} removed"
    )
    if not any(astuple(changes)):
        console.print("nothing differs from the last run, so nothing has to be embedded")


def load_model(console: Console) -> None:
    """Load it once here, so that the figures that follow do not contain it."""
    started = time.perf_counter()
    with console.status("loading the model"):
        model = python_doc_search.embedder.space.model
    console.print(f"{model}, loaded in {time.perf_counter() - started:.1f} s")


def embed_rows(console: Console, info: str) -> Worker:
    """Embed what waits.

    Returns:
        The worker, its model loaded.
    """
    with connect(info) as connection:
        waiting = sum(index.pending for index in status.index_status(connection))
    with drain_progress(info, enabled=progress_console.is_terminal) as advance:
        worker = Worker(info, WorkerOptions(drain=True), on_batch=advance)
        seconds = drain(worker)
    texts = worker.report.embedded
    console.print(f"{waiting:,} rows waited; {texts:,} pieces of text were embedded")
    if texts:
        console.print(f"in {seconds:.0f} s, {waiting / seconds:.0f} rows a second")
    return worker


def drain(worker: Worker) -> float:
    """Let the worker work until nothing is left.

    Returns:
        The seconds it took.
    """
    started = time.perf_counter()
    report = worker.run()
    for index, problem in report.problems.items():
        raise DemoError(f"the worker left {index} alone: {problem}")
    if report.failed:
        raise DemoError(f"{report.failed} rows could not be embedded; see: embedsql dead list")
    return time.perf_counter() - started


def ask_questions(console: Console, database: Engine) -> None:
    """Each question in every mode, side by side."""
    ask(database, "after this one, connection, plans and compiled statements are warm")
    for question, remark in QUESTIONS.items():
        console.print(f"\n[bold]{question}[/]  [dim]{remark}[/]")
        console.print(side_by_side(ask(database, question)))


def change_a_row(console: Console, database: Engine, worker: Worker) -> None:
    """Give one row another text, find it by that, and put the old text back."""
    with Session(database) as session:
        doc = session.scalars(select(PythonDoc.doc).where(PythonDoc.name == CHANGED_ROW)).one()
    console.print(f"The documentation of {CHANGED_ROW} is changed to\n  {CHANGED_DOC}\nand back.")
    console.print(f"\n[bold]{CHANGED_QUESTION}[/]  [dim]hybrid[/]")
    _print_best(console, database, "before")
    try:
        milliseconds = rewrite(database, worker, CHANGED_DOC)
        best = _print_best(console, database, "changed")
    finally:
        rewrite(database, worker, doc)
    _print_best(console, database, "put back")
    console.print(f"From its UPDATE to its new vector it took {milliseconds:.0f} ms.")
    if best != CHANGED_ROW:
        raise DemoError(f"the changed row was not found first, but {best}")


def rewrite(database: Engine, worker: Worker, doc: str) -> float:
    """Change the row's text and let the worker follow.

    Returns:
        The milliseconds from the change to the end of the worker's work.
    """
    started = time.perf_counter()
    with Session(database) as session, session.begin():
        session.execute(update(PythonDoc).where(PythonDoc.name == CHANGED_ROW).values(doc=doc))
    drain(worker)
    return (time.perf_counter() - started) * 1000


def _print_best(console: Console, database: Engine, state: str) -> str:
    names = ask(database, CHANGED_QUESTION)["hybrid"].names
    console.print(f"{state:<9} {', '.join(names)}")
    return names[0] if names else "nothing"


def _heading(console: Console, text: str) -> None:
    console.print()
    console.rule(f"[bold]{text}[/]", align="left")


def _failed(message: str, code: int = 1) -> int:
    sys.stderr.write(f"demo: {' '.join(message.split())}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
