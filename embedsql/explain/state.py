"""Where a row is on its way from the change log to its vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from embedsql import sqlfile
from embedsql.explain.explanation import Reason
from embedsql.explain.statement import Key, Subject, run
from embedsql.inputs import Inputs
from embedsql.naming import ObjectNames
from embedsql.slots import Slots

KIT_TABLES = ("failure", "worker", "bulk_insert")


@dataclass(frozen=True)
class RowState:
    """What stands in the index's own tables of one row; see ``state.sql``.

    Attributes:
        found: Its columns. ``None``: the caller may not look there.
    """

    found: Mapping[str, Any] | None

    def reasons(self, *, searchable: bool) -> Iterator[Reason]:
        """Why its current text is not searched.

        Args:
            searchable: Whether a passage of it is stored, perhaps of an older text.
        """
        found = self.found
        if found is None:
            if not searchable:
                yield Reason(
                    "unknown",
                    "nothing of it is stored: it is blank, waits or has failed; this role may not "
                    "look into the queue",
                )
            return
        waits = list(_waiting(found))
        yield from waits
        if found["blank"]:
            if not waits:
                yield Reason("blank", "its text columns are empty or hold nothing but white space")
        elif found["stored"] and found["chunks"] and found["stale"]:
            yield Reason("stale", _stale(bool(waits)))
        elif not searchable and not waits:
            yield Reason(
                "missing",
                "it has text, no passage is stored and nothing waits: embedsql verify --repair",
            )


def state_of(subject: Subject, key: Key) -> RowState:
    """What is known of the row, which the caller sees."""
    if not _may_read(subject, [sqlfile.kit(name) for name in KIT_TABLES]):
        return RowState(None)
    found = run(subject, "generation.sql", {})
    if not found:
        return RowState(None)
    generation = found[0]["generation"]
    slots = Slots(subject.spec, ObjectNames(subject.spec.name, generation))
    if not _may_read(subject, [slots.log, slots.batch, slots.row]):
        return RowState(None)
    inputs = Inputs(subject.spec)
    lines = run(
        subject,
        "state.sql",
        key.parameters,
        slots,
        generation=sqlfile.literal(generation),
        blank=inputs.blank,
        input_hash=inputs.hash,
        log=slots.log,
        batch=slots.batch,
        row=slots.row,
        source=slots.source,
        batch_arrays=slots.arrays_of("b"),
        log_of_key=slots.same_key("l", "k"),
        busy_of_key=slots.same_key("u", "k"),
        row_of_key=slots.same_key("r", "k"),
        source_of_key=slots.key_match("s", "k"),
        key_json=sql.SQL("(SELECT {} FROM asked)").format(slots.key_json),
    )
    return RowState(dict(lines[0]) if lines else None)


def _waiting(found: Mapping[str, Any]) -> Iterator[Reason]:
    if found["dead"]:
        details = {name: found[name] for name in ("error_class", "error", "attempts")}
        yield Reason(
            "dead",
            "it failed for good after {attempts} attempts: {error_class}: {error} (embedsql dead "
            "retry, or edit it)".format(**details),
            details,
        )
    elif found["retry_seconds"] is not None:
        details = {
            name: found[name] for name in ("error_class", "error", "attempts", "retry_seconds")
        }
        yield Reason(
            "retry",
            "it failed {attempts} times and is tried again in {retry_seconds:.0f} s: "
            "{error_class}: {error}".format(**details),
            details,
        )
    if found["worker"] is not None:
        yield _leased(found)
    elif found["logged_seconds"] is not None:
        yield _queued(found)
    elif not found["stored"] and found["backfilling"] and found["attempts"] is None:
        workers = _workers(found)
        yield Reason(
            "backfill", f"the index is still being filled, and it was not reached; {workers}"
        )
    else:
        return
    if found["problem"]:
        said = f"workers leave the index alone: {found['problem']}"
        yield Reason("stopped", said, {"problem": found["problem"]})


def _queued(found: Mapping[str, Any]) -> Reason:
    details = {name: found[name] for name in ("ahead", "logged_seconds")}
    return Reason(
        "queued",
        f"it changed {found['logged_seconds']:.0f} s ago and waits behind {found['ahead']} other "
        f"rows; {_workers(found)}",
        details,
    )


def _leased(found: Mapping[str, Any]) -> Reason:
    left = found["lease_seconds"]
    details = {"worker": found["worker"], "lease_seconds": left}
    said = f"it is in a batch of worker {found['worker']}, "
    if left >= 0:
        return Reason("leased", said + f"whose lease has {left:.0f} s left", details)
    return Reason("leased", said + "whose lease ran out: another takes it over", details)


def _workers(found: Mapping[str, Any]) -> str:
    return f"{found['workers']} workers run" if found["workers"] else "no worker runs"


def _stale(waits: bool) -> str:
    said = "what is searched is of an older text than the row has now"
    return said if waits else f"{said}, and nothing waits: embedsql verify --repair"


def _may_read(subject: Subject, tables: Sequence[sql.Identifier]) -> bool:
    names = sqlfile.comma(sqlfile.literal(table.as_string(None)) for table in tables)
    listed = sql.SQL("ARRAY[{}]").format(names)
    return bool(run(subject, "readable.sql", {}, tables=listed)[0]["readable"])
