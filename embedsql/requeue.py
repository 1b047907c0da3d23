"""Put rows back into the change log by hand, and look at what failed."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from embedsql import sqlfile
from embedsql.registry import RegisteredIndex, find_generations, find_index
from embedsql.slots import Slots

# marked by a zero byte, as in the rows (requeue.sql), a hash is found by no look-up
_MARK_CHUNK = (
    r"UPDATE {} SET content_hash = '\x00'::bytea || content_hash WHERE ({}) IN ({}) "
    "AND octet_length(content_hash) = 16"
)


def requeue_rows(connection: psycopg.Connection, index: RegisteredIndex, where: str | None) -> int:
    """Log rows again and forget what was embedded of them, so that they are embedded anew.

    Args:
        connection: In autocommit mode.
        index: The index.
        where: An SQL condition on the source's columns, from someone who may run SQL anyway.

    Returns:
        How many rows.
    """
    slots = Slots(index.spec, index.names)
    condition = sqlfile.raw(f"({where})" if where else "true")
    chosen = sql.SQL("SELECT {} FROM {} AS s WHERE {}").format(
        slots.source_key_as_own("s"), slots.source, condition
    )
    with connection.transaction():
        connection.execute(slots.lock_source, {})
        logged = sqlfile.statement(
            __package__,
            "requeue.sql",
            log=slots.log,
            row=slots.row,
            batch=slots.batch,
            batch_arrays=slots.arrays_of("b"),
            key_columns=slots.key_columns,
            chosen=chosen,
            row_of_key=slots.same_key("r", "k"),
        )
        (count,) = connection.execute(logged, {}).fetchone() or (0,)
        # nor may an equal text's vector be reused, from any generation: the model is to run
        for one in find_generations(connection, index.spec.name):
            if one.state != "dropping":
                connection.execute(
                    sql.SQL(_MARK_CHUNK).format(
                        Slots(one.spec, one.names).chunk, slots.key_columns, chosen
                    ),
                    {},
                )
    return int(count)


def dead_letters(connection: psycopg.Connection, index: str | None) -> list[dict[str, Any]]:
    """The dead letters, of all indexes or one.

    Raises:
        IndexNotFoundError: There is none of this name.
    """
    if index is not None:
        find_index(connection, index)
    cursor = connection.cursor(row_factory=dict_row)
    return cursor.execute(
        "SELECT * FROM embedsql.dead_letter "
        "WHERE index = coalesce(%(index)s::text, index) ORDER BY index, since",
        {"index": index},
    ).fetchall()


def drop_dead_letters(connection: psycopg.Connection, index: str | None) -> int:
    """Forget the dead letters, of all indexes or one.

    Returns:
        How many there were.

    Raises:
        IndexNotFoundError: There is none of this name.
    """
    if index is not None:
        find_index(connection, index)
    return connection.execute(
        "DELETE FROM embedsql.failure AS f USING embedsql.semantic_index AS i "
        "WHERE f.index_id = i.index_id AND f.dead AND i.name = coalesce(%(index)s::text, i.name)",
        {"index": index},
    ).rowcount
