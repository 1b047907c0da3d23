"""The kit's own schema, as versioned SQL: a way up, in a file for each subject, and one down.

A released file is never edited; a change is a new version with files of its own.
"""

from __future__ import annotations

from embedsql.errors import SchemaVersionError
from embedsql.sqlfile import read, split

# the files of each version, in the order in which they run
UP: dict[int, tuple[str, ...]] = {
    1: ("registry", "lexemes", "question", "generations", "status", "mailbox", "search"),
}
LATEST = max(UP)


def upgrade_sql(installed: int, version: int = LATEST) -> str:
    """The SQL that brings a database from version ``installed`` (0: nothing) to ``version``."""
    _check(installed, version)
    steps = range(installed + 1, version + 1)
    return "\n".join(
        read(__name__, f"v{step:02}_{part}.sql") for step in steps for part in UP[step]
    )


def downgrade_sql(installed: int, version: int = 0) -> str:
    """The SQL that takes a database from version ``installed`` back to ``version``."""
    _check(version, installed)
    steps = range(installed, version, -1)
    return "\n".join(read(__name__, f"v{step:02}_down.sql") for step in steps)


def extension_statements() -> list[str]:
    """The SQL that creates the extensions: pgvector, and dblink where it is available."""
    return split(read(__name__, "extensions.sql"))


def refuse_newer(installed: int) -> None:
    """Refuse to work on a schema of a later release.

    Args:
        installed: Its version.

    Raises:
        SchemaVersionError: It is newer than this release knows.
    """
    if installed > LATEST:
        raise SchemaVersionError(
            f"the database holds schema version {installed} of embedsql, newer than this release "
            f"knows ({LATEST}): upgrade the embedsql package"
        )


def _check(low: int, high: int) -> None:
    if not 0 <= low <= high <= LATEST:
        raise SchemaVersionError(
            f"no way from schema version {low} to {high}: this release of embedsql knows "
            f"versions 0 (nothing) to {LATEST}"
        )
