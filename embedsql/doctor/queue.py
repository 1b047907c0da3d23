"""Findings about the work: what waits too long, what failed, who should work and does not."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
from psycopg import sql

from embedsql import sqlfile
from embedsql.doctor.finding import Finding, Limits, command
from embedsql.registry import RegisteredIndex
from embedsql.slots import Slots

NOBODY_SECONDS = 60.0  # a worker that is started every now and then has its time

_WAITING = """
SELECT extract(epoch FROM clock_timestamp() - least(
    CASE WHEN EXISTS (SELECT FROM {source}) THEN i.backfill_since END,  -- first, as a TRUNCATE does
    (SELECT min(at) FROM {log}),
    (SELECT min(at) FROM embedsql.bulk_insert AS b
     WHERE (b.name, b.generation) = (i.name, i.generation))))::float8,
    (SELECT count(*) FROM embedsql.worker AS w
     WHERE w.seen_at > clock_timestamp() - interval '1 minute'),
    i.space IS NULL AND EXISTS (SELECT FROM {chunk})
FROM embedsql.semantic_index AS i WHERE i.index_id = %(index)s
"""

# a version is a number of the log's sequence: what is changed under a lower one is taken for older
_REACHED = """
SELECT greatest((SELECT max(seq) FROM {log}), (SELECT max(version) FROM {row})),
       coalesce(embedsql.last_change(%(log)s), 0)
"""

_DEAD = """
SELECT count(*), string_agg(DISTINCT error_class, ', ')
FROM embedsql.failure WHERE index_id = %(index)s AND dead
"""


def examine_queue(
    connection: psycopg.Connection, index: RegisteredIndex, limits: Limits
) -> Iterator[Finding]:
    """Problems, waiting rows, dead letters, vectors of an unknown space, a log that counts anew."""
    name = index.spec.name
    if index.problem is not None:
        yield Finding(
            "error",
            f"workers leave the index alone: {index.problem}; once that is mended, they go on by "
            "themselves",
            "embedsql worker --drain",
            name,
        )
    slots = Slots(index.spec, index.names)
    waiting = sql.SQL(_WAITING).format(log=slots.log, source=slots.source, chunk=slots.chunk)
    row = connection.execute(waiting, {"index": index.index_id}).fetchone()
    assert row is not None
    seconds, workers, space_unknown = row
    yield from _waits(name, seconds, workers, limits)
    yield from _behind(connection, index, slots)
    if space_unknown:
        yield Finding(
            "warning",
            "the space of the stored vectors is not known, so that a query embedded by another "
            "model is not refused; a worker records it",
            "embedsql worker --drain",
            name,
        )
    dead, classes = connection.execute(_DEAD, {"index": index.index_id}).fetchone() or (0, "")
    if dead:
        yield Finding(
            "warning",
            f"{dead} rows failed for good ({classes}) and are not found by meaning: "
            f"{command('dead', 'list', '--index', name)} shows the errors",
            f"{command('dead', 'retry', '--index', name)}\nembedsql worker --drain",
            name,
        )


def _behind(
    connection: psycopg.Connection, index: RegisteredIndex, slots: Slots
) -> Iterator[Finding]:
    """A sequence that was not restored or replicated with the tables."""
    asked = sql.SQL(_REACHED).format(log=slots.log, row=slots.row)
    row = connection.execute(asked, {"log": index.names.log}).fetchone()
    reached, last = row or (None, 0)
    if reached is None or reached <= last:
        return
    table = sqlfile.literal(sqlfile.text(slots.log))
    sequence = sql.SQL("pg_get_serial_sequence({}, 'seq')").format(table)
    mend = sql.SQL("SELECT setval({0}, greatest(nextval({0}), {1}));").format(
        sequence, sqlfile.literal(reached)
    )
    yield Finding(
        "error",
        f"the sequence of the change log stands at {last}, and {reached} was given once: it was "
        "not restored or replicated with the tables. What changed since is taken for older, and "
        "lost",
        f"{sqlfile.text(mend)}\nembedsql verify --repair",
        index.spec.name,
    )


def _waits(name: str, seconds: float | None, workers: int, limits: Limits) -> Iterator[Finding]:
    if seconds is None:
        return
    if not workers:
        yield Finding(
            "note" if seconds < NOBODY_SECONDS else "warning",
            f"changed rows wait, the oldest for {seconds:.0f} s, and no worker was seen within a "
            "minute",
            "embedsql worker --drain",
            name,
        )
    elif seconds > limits.pending_seconds:
        yield Finding(
            "warning",
            f"the oldest changed row waits for {seconds:.0f} s although {workers} workers live: "
            "they are too few, or stuck (their logs, and embedsql status, tell)",
            "embedsql worker --drain",
            name,
        )
