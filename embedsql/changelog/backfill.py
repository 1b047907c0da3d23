"""Rows that no log row speaks of: older than the triggers, or inserted in bulk.

A backfill walks the source by its primary key and claims what has nothing stored, a bounded
stretch at a time. Its place stands in the registry, moved in the transaction that claims, so that
any worker goes on where another stopped, and nothing is logged, however large the table.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from embedsql import sqlfile
from embedsql.changelog.batch import BRIEFLY, BY_KEY, LEASE_SECONDS, Batch, claimers_lock
from embedsql.registry import RegisteredIndex
from embedsql.slots import Slots

LONGEST_WINDOW = 20_000  # keys examined in one transaction, in tens of milliseconds

# row_security: a row that a policy hides would be passed over in silence; now it is an error
_SETTINGS = f"""SELECT set_config('row_security', 'off', true),
    set_config('lock_timeout', '2s', true), {BY_KEY}"""


class Backfill:
    """Claims for one worker on one index, behind what is logged.

    Args:
        index: The index.
        worker: This worker's name, unlike any other's.
        lease: Seconds that a claim is valid.
    """

    def __init__(self, index: RegisteredIndex, worker: str, lease: float = LEASE_SECONDS) -> None:
        self._index_id = index.index_id
        self._worker = worker
        self._lease = lease
        self._window = 0
        self._claims: tuple[sql.Composed, sql.Composed] | None = None
        self._slots = slots = Slots(index.spec, index.names)
        self._begin = sqlfile.statement(
            __package__,
            "backfill_begin.sql",
            log=slots.log,
            batch=slots.batch,
            batch_arrays=slots.arrays_of("b"),
            key_columns=slots.key_columns,
            key_from_json=slots.key_from_json("key"),
        )
        self._place = sqlfile.statement(__package__, "backfill_place.sql")
        self._lock = slots.lock_source

    def claim(self, connection: psycopg.Connection, size: int) -> Batch | None:
        """Claim up to ``size`` keys; ``None`` where nothing is left to find."""
        while (place := self._look(connection)) is not None:
            self._window = max(self._window, size)
            batch = self._claim_after(connection, place, size)
            if batch is not None and len(batch) == size:
                self._window = 0
            else:  # many of these keys are stored already: look at more of them at once
                self._window = max(size, min(self._window * 4, LONGEST_WINDOW))
            if batch is not None:
                return batch
        return None

    def _look(self, connection: psycopg.Connection) -> list[str] | None:
        """The key after which to look on; ``[]`` at the first, ``None`` where there is nothing."""
        values = {"index_id": self._index_id}
        found = connection.execute(self._place, values).fetchone()
        if found is None and self._begin_anew(connection, values):
            found = connection.execute(self._place, values).fetchone()
        return None if found is None else found[0] or []

    def _begin_anew(self, connection: psycopg.Connection, values: dict[str, Any]) -> bool:
        with connection.transaction():
            # a migration may hold the index's row of the registry for as long as it runs
            connection.execute(f"SELECT {BRIEFLY}")
            return connection.execute(self._begin, values).rowcount > 0

    def _claim_after(
        self, connection: psycopg.Connection, seen: list[str], size: int
    ) -> Batch | None:
        with connection.transaction():
            connection.execute(_SETTINGS)
            connection.execute(self._lock, {})
            claimers_lock(connection, self._index_id)
            place = connection.execute(self._place, {"index_id": self._index_id}).fetchone()
            if place is None or (place[0] or []) != seen:  # another worker has moved it meanwhile
                return None
            values: dict[str, Any] = {
                "index_id": self._index_id,
                "worker": self._worker,
                "lease": self._lease,
                "size": size,
                "window": self._window,
                **{f"after_{number}": text for number, text in enumerate(seen, 1)},
            }
            from_first, further = self._claims or self._make_claims(connection)
            found = connection.execute(further if seen else from_first, values).fetchone()
        return None if found is None else Batch.of(found)

    def _make_claims(self, connection: psycopg.Connection) -> tuple[sql.Composed, sql.Composed]:
        """The statements that claim from the first key, and behind one."""
        types = [column.type for column in self._slots.spec.key]
        asked = sqlfile.statement(__package__, "backfill_order.sql")
        (own_order,) = connection.execute(asked, {"types": types}).fetchone() or ((),)
        after = self._slots.after_key("s", own_order)
        ordered = self._slots.ordered_key("s", own_order)
        self._claims = (
            _claim(self._slots, ordered, sqlfile.raw("true")),
            _claim(self._slots, ordered, after),
        )
        return self._claims


def _claim(slots: Slots, ordered: sql.Composable, after: sql.Composable) -> sql.Composed:
    return sqlfile.statement(
        __package__,
        "backfill_claim.sql",
        after=after,
        source=slots.source,
        ordered_key=ordered,
        source_key_as_own=slots.source_key_as_own("s"),
        batch=slots.batch,
        batch_arrays=slots.arrays_of("b"),
        row=slots.row,
        row_of_key=slots.same_key("r", "k"),
        key_columns=slots.key_columns,
        key_texts=slots.key_texts,
        key_json=slots.key_json,
        array_columns=slots.array_columns,
        aggregated_key=slots.aggregated_key,
        returned_arrays=slots.returned_arrays,
    )
