"""What is said of a source that is no longer as declared."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from embedsql import sqlfile
from embedsql.registry import RegisteredIndex


class Drift(NamedTuple):
    """One thing that is no longer as declared.

    Attributes:
        words: What, and how it is mended.
        mend: The statements and commands that do, one a line.
    """

    words: str
    mend: str


def anew(index: RegisteredIndex) -> str:
    """The commands that make an index anew."""
    return f"{drop(index)}\nembedsql add …"


def drop(index: RegisteredIndex) -> str:
    """The command that removes it."""
    return shlex.join(("embedsql", "drop", index.spec.name))


def quoted(*names: str) -> str:
    """A name, possibly qualified, as SQL."""
    return sqlfile.text(sqlfile.identifier(*names))
