"""What the doctor says, and from when on."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Literal

from psycopg import sql

from embedsql import sqlfile

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        severity: ``error`` (searches or workers fail, or vectors go stale), ``warning`` (slow, or
            soon an error) or ``note`` (good to know).
        finding: What is wrong.
        mend: What mends it: SQL statements, each ending in a semicolon, and commands, in the order
            in which they are run.
        index: The semantic index; ``None``: of the whole database.
    """

    severity: Severity
    finding: str
    mend: str
    index: str | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is still taken for healthy.

    Attributes:
        transaction_seconds: Age of a transaction that keeps VACUUM from its work.
        pending_seconds: Age of the oldest change that waits.
        slot_bytes: Write-ahead log that a replication slot holds back.
        dead_tuples: Of a table, where they outnumber the live ones.
        sparse_bytes: Size of a table of few rows.
        analyzed_rows: Tables with fewer rows need no statistics.
        changed_share: Share of a table's rows changed since its statistics were made.
    """

    transaction_seconds: float = 600
    pending_seconds: float = 300
    slot_bytes: int = 1 << 30
    dead_tuples: int = 100_000
    sparse_bytes: int = 64 << 20
    analyzed_rows: int = 1000
    changed_share: float = 0.5


def command(*words: str) -> str:
    """A command of ours, as a shell reads it."""
    return shlex.join(("embedsql", *words))


def megabytes(size: float) -> str:
    """A size for people."""
    return f"{size / 2**20:,.0f} MB" if size >= 2**20 else f"{size / 2**10:,.0f} kB"


def setting(name: str, value: str, *, role: str, database: str) -> str:
    """The statement that gives a role a setting in this database, from its next connection on.

    Args:
        name: The setting.
        value: As SQL.
        role: Its exact name.
        database: Likewise.
    """
    return sqlfile.text(
        sql.SQL("ALTER ROLE {} IN DATABASE {} SET {} = {};").format(
            sqlfile.identifier(role),
            sqlfile.identifier(database),
            sqlfile.raw(name),
            sqlfile.raw(value),
        )
    )
