"""An application's own Alembic history, in a folder of its own, against one database."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import BigInteger, Column, MetaData, Table, Text
from sqlalchemy.engine import Connection

from embedsql import SemanticIndex
from embedsql.alembic import embedsql_hooks
from embedsql.database import engine
from tests.servers import dbname, run_program

TEMPLATE = '''"""${message}"""

from alembic import op
import sqlalchemy as sa
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade():
    ${upgrades if upgrades else "pass"}


def downgrade():
    ${downgrades if downgrades else "pass"}
'''

ENVIRONMENT = """
from alembic import context
context.config.attributes["run"](context)
"""


class Application:
    """Models that change, and revisions that autogenerate writes for them.

    Args:
        folder: Of its revisions.
        database: Its conninfo.
        hooks: Gives the options of ``context.configure``.
        options: Further ones.
    """

    def __init__(
        self,
        folder: Path,
        database: str,
        hooks: Callable[[], dict[str, Any]] = embedsql_hooks,
        **options: Any,
    ) -> None:
        self.database = database
        self.metadata: Any = MetaData()
        self._hooks = hooks
        self._options = {"transaction_per_migration": True, **options}
        (folder / "versions").mkdir(parents=True, exist_ok=True)
        (folder / "script.py.mako").write_text(TEMPLATE)
        (folder / "env.py").write_text(ENVIRONMENT)
        self.versions = folder / "versions"
        self.output = io.StringIO()
        self.config = Config(stdout=io.StringIO(), output_buffer=self.output)
        self.config.set_main_option("script_location", str(folder))
        self.config.attributes["run"] = self._run

    def revise(self) -> str:
        """Let autogenerate write a revision; its text."""
        number = len(list(self.versions.glob("*.py"))) + 1
        command.revision(self.config, "change", autogenerate=True, rev_id=f"{number:04}")
        return next(self.versions.glob(f"{number:04}_*.py")).read_text()

    def write(self, upgrade: str, downgrade: str = "pass", imports: str = "") -> None:
        """A revision written by hand."""
        number = len(list(self.versions.glob("*.py"))) + 1
        before = f"'{number - 1:04}'" if number > 1 else None
        (self.versions / f"{number:04}_by_hand.py").write_text(
            f"from alembic import op\nimport sqlalchemy as sa\n{imports}\n"
            f"revision = '{number:04}'\ndown_revision = {before}\n\n\n"
            f"def upgrade():\n    {upgrade}\n\n\ndef downgrade():\n    {downgrade}\n"
        )

    def upgrade(self, revision: str = "head") -> None:
        command.upgrade(self.config, revision)

    def downgrade(self, revision: str = "-1") -> None:
        command.downgrade(self.config, revision)

    def printed(self, revision: str, *, down: bool = False) -> str:
        """What ``--sql`` prints."""
        self.output.seek(0)
        self.output.truncate()
        (command.downgrade if down else command.upgrade)(self.config, revision, sql=True)
        return self.output.getvalue()

    def drift(self) -> str | None:
        """What ``alembic check`` complains of; ``None``: nothing."""
        try:
            command.check(self.config)
        except CommandError as error:
            return str(error)
        return None

    def schema(self) -> str:
        return schema_of(self.database)

    def _run(self, context: Any) -> None:
        options = {**self._options, **self._hooks(), "target_metadata": self.metadata}
        if context.is_offline_mode():
            context.configure(dialect_name="postgresql", literal_binds=True, **options)
            with context.begin_transaction():
                context.run_migrations()
            return
        with self.connected() as connection:
            context.configure(connection=connection, **options)
            with context.begin_transaction():
                context.run_migrations()

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        made = engine(self.database)
        try:
            with made.connect() as connection:
                yield connection
        finally:
            made.dispose()


def article(metadata: MetaData, *columns: Column[Any], **options: Any) -> Table:
    """The table ``article``: a key, a title, a body, and what else is given."""
    return Table(
        options.pop("name", "article"),
        metadata,
        Column("id", BigInteger, primary_key=True),
        Column("title", Text),
        Column("body", Text),
        *columns,
        **options,
    )


def declare(table: Any, name: str = "article_search", **options: Any) -> SemanticIndex:
    """A semantic index with the hash embedder, unless said otherwise."""
    values: dict[str, Any] = {"text": ("title", "body"), "model": "hash:64", "dimensions": 64}
    return SemanticIndex(name, table, **(values | options))


def schema_of(database: str) -> str:
    """``pg_dump --schema-only``, without the random word that guards its meta-commands."""
    dump = run_program("pg_dump", "--schema-only", dbname(database))
    return re.sub(r"\\(un)?restrict \S+", "", dump)


def operations_in(revision: str) -> list[str]:
    """The names of a revision's operations in ``upgrade()``, in order."""
    upgrade = revision.partition("def upgrade")[2].partition("def downgrade")[0]
    return re.findall(r"\bop\.(\w+)\(", upgrade)
