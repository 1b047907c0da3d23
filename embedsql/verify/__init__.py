"""Check that every row's vectors agree with its current text, and mend what does not."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import psycopg
import stamina
from psycopg import sql

from embedsql import sqlfile
from embedsql.inputs import Inputs
from embedsql.registry import RegisteredIndex
from embedsql.slots import Slots
from embedsql.vector_slots import VectorSlots

_file = partial(sqlfile.statement, __name__)


@dataclass(frozen=True)
class Verdict:
    """What was found, in numbers of rows.

    Attributes:
        missing: Rows with text and without vectors.
        stale: Rows whose vectors were made of another text, or not of all of it, or which somebody
            else wrote into the source.
        orphans: Vectors whose row is gone.
        pending: Keys that wait in the change log or for their next attempt.
        dead: Dead letters.
        repaired: Keys logged again, where that was asked for.
    """

    missing: int = 0
    stale: int = 0
    orphans: int = 0
    pending: int = 0
    dead: int = 0
    repaired: int = 0

    @property
    def ok(self) -> bool:
        """Nothing is wrong and nothing waits."""
        return not (self.missing or self.stale or self.orphans or self.pending or self.dead)

    def __add__(self, other: Verdict) -> Verdict:
        ours, theirs = asdict(self), asdict(other)
        return Verdict(**{name: ours[name] + theirs[name] for name in ours})


def verify_index(
    connection: psycopg.Connection, index: RegisteredIndex, *, repair: bool = False
) -> Verdict:
    """Compare an index with its source, in one snapshot; reads every text once, on the server.

    Args:
        connection: In autocommit mode.
        index: The index.
        repair: Log again what is wrong and not logged yet, for a worker to mend.
    """
    slots, inputs = Slots(index.spec, index.names), Inputs(index.spec)
    vector = VectorSlots(slots)
    findings = _file(
        "findings.sql",
        source=slots.source,
        source_key_as_own=slots.source_key_as_own("s"),
        input_hash=inputs.hash,
        blank=inputs.blank,
        key_columns=slots.key_columns,
        chunk_key=slots.own_key_of("c"),
        has_vector=vector.present,
        vector_is_own=vector.is_own,
        chunk_and_vector=vector.outer_from,
        row=slots.row,
    )
    fill = {
        "findings": findings,
        "backfilling": _file("backfilling.sql"),
        "log": slots.log,
        "row": slots.row,
        "key_columns": slots.key_columns,
        "key_json": slots.key_json,
    }
    count = _file(
        "count.sql",
        **fill,
        source=slots.source,
        source_key_as_own=slots.source_key_as_own("s"),
        row_of_key=slots.same_key("r", "k"),
        log_of_key=slots.same_key("l", "k"),
    )
    mend = _file("repair.sql", **fill) if repair else None
    values = {"index_id": index.index_id}
    found, repaired = (0, 0, 0, 0, 0), 0
    for attempt in stamina.retry_context(on=psycopg.errors.SerializationFailure, attempts=10):
        with attempt, connection.transaction():  # a worker may write what is mended here
            found, repaired = _compared(connection, count, mend, values)
    missing, stale, orphans, pending, dead = found
    return Verdict(missing, stale, orphans, pending, dead, repaired)


def _compared(
    connection: psycopg.Connection,
    count: sql.Composed,
    mend: sql.Composed | None,
    values: dict[str, Any],
) -> tuple[Any, int]:
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    connection.execute("SET LOCAL row_security = off")
    found = connection.execute(count, values).fetchone()
    return found, 0 if mend is None else connection.execute(mend, values).rowcount
