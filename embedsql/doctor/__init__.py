"""What is wrong with a database's semantic indexes, each finding with the SQL that mends it.

Reads only, mostly the catalogue; a file of this folder for each family of findings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import psycopg

from embedsql.doctor.access import examine_access
from embedsql.doctor.finding import SEVERITIES, Finding, Limits, Severity, command
from embedsql.doctor.queue import examine_queue
from embedsql.doctor.roles import examine_roles
from embedsql.doctor.server import examine_server
from embedsql.doctor.source import examine_source
from embedsql.doctor.tables import examine_tables
from embedsql.doctor.vector_index import examine_vector_indexes
from embedsql.installation import require_installed
from embedsql.registry import RegisteredIndex, all_indexes, find_index, unreadable_indexes

__all__ = ["Finding", "Limits", "Severity", "diagnose", "is_healthy"]

_Examination = Callable[[psycopg.Connection, RegisteredIndex, Limits], Iterator[Finding]]

_FAMILIES: dict[str, _Examination] = {
    "the source": examine_source,
    "the vector index": examine_vector_indexes,
    "the tables": examine_tables,
    "the work": examine_queue,
    "privileges": examine_access,
    "other roles": examine_roles,
}


def diagnose(
    connection: psycopg.Connection, index: str | None = None, limits: Limits | None = None
) -> list[Finding]:
    """Examine the server and one index, or all.

    Args:
        connection: In autocommit mode, of the role that is meant to work.
        index: Its name. ``None``: all there are.
        limits: What is still taken for healthy.

    Returns:
        The findings, worst first; none where nothing is wrong.

    Raises:
        IndexNotFoundError: There is none of this name.
        DeclarationError: This release cannot read its declaration.
        SchemaVersionError: The kit's schema is not there, or not of this release's version.
    """
    chosen = limits or Limits()
    findings = list(examine_server(connection, chosen))
    try:
        require_installed(connection)
        indexes = [find_index(connection, index)] if index else all_indexes(connection)
        unreadable = [] if index else unreadable_indexes(connection)
    except psycopg.errors.InsufficientPrivilege as error:
        return [_may_not_look(connection, error), *findings]
    findings += [
        Finding("error", one.problem, "pip install --upgrade embedsql", one.label)
        for one in unreadable
    ]
    for one in indexes:
        findings += _examine_index(connection, one, chosen)
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def is_healthy(findings: Sequence[Finding]) -> bool:
    """Whether nothing is worse than a note."""
    return all(finding.severity == "note" for finding in findings)


def _examine_index(
    connection: psycopg.Connection, index: RegisteredIndex, limits: Limits
) -> list[Finding]:
    """Every family's findings; where one cannot look, and the source's do not say why, that."""
    findings: list[Finding] = []
    for what, examine in _FAMILIES.items():
        try:
            findings += examine(connection, index, limits)
        except psycopg.ProgrammingError as error:
            if not findings:
                findings.append(_not_examined(connection, index.spec.name, what, error))
    return findings


def _not_examined(
    connection: psycopg.Connection, index: str, what: str, error: psycopg.Error
) -> Finding:
    return Finding(
        "warning",
        f"{what} could not be examined: {error.diag.message_primary or error}",
        command("grant", "worker", _role(connection)),
        index,
    )


def _may_not_look(connection: psycopg.Connection, error: psycopg.Error) -> Finding:
    return Finding(
        "error",
        f"this role may not read the registry ({error.diag.message_primary}): it can only search; "
        "the owner of the indexes lets it work, or examines them",
        command("grant", "worker", _role(connection)),
    )


def _role(connection: psycopg.Connection) -> str:
    row = connection.execute("SELECT current_user::text").fetchone()
    return "" if row is None else str(row[0])
