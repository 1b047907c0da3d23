"""What the server's catalogue says: the source table, its key, the text-search configurations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from embedsql import sqlfile
from embedsql.errors import DeclarationError
from embedsql.key import KeyColumn
from embedsql.naming import quoted
from embedsql.spec import IndexSpec

_KINDS = {
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "S": "a sequence",
    "i": "an index",
    "c": "a composite type",
}

_TABLE = """
SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.relkind = 'p'
    OR EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = c.oid)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = pg_catalog.to_regclass(%s)
"""

_KEY = """
SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
       t.typcategory IN ('A', 'C'), coalesce(NOT c.collisdeterministic, false)
FROM pg_catalog.pg_index AS i
CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(attnum, place)
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_collation AS c ON c.oid = a.attcollation
WHERE i.indrelid = %s AND i.indisprimary AND k.place <= i.indnkeyatts
ORDER BY k.place
"""

_COLUMNS = """
SELECT attname, pg_catalog.format_type(atttypid, NULL)
FROM pg_catalog.pg_attribute
WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped
ORDER BY attnum
"""

_HOLDER = sql.SQL("""
SELECT 'a relation of schema ' || nspname FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE relname = {name} AND nspname = {schema}
UNION ALL SELECT 'a function of schema ' || nspname FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE proname = {name} AND nspname = {schema} LIMIT 1
""")

# runs a statement without parameters, over whatever driver, and returns its rows
Ask = Callable[[str], Sequence[Any]]


@dataclass(frozen=True)
class SourceTable:
    """A table of the application, as the catalogue describes it.

    Attributes:
        schema: Where it is.
        name: Its name.
        partitioned: Whether it is a partitioned table or another's child: statement triggers miss
            what is written through the one to the other.
        key: Its primary key.
        columns: Names and SQL types.
    """

    schema: str
    name: str
    partitioned: bool
    key: tuple[KeyColumn, ...]
    columns: dict[str, str]


def describe_source(connection: psycopg.Connection, table: str) -> SourceTable:
    """Find a table by the name a user gave: ``article``, ``app.article``, ``"Article"``.

    Args:
        connection: Its search_path decides where an unqualified name is looked for.
        table: As in SQL; a name that SQL would fold to lower case is tried as it stands, too.

    Raises:
        DeclarationError: No such table, not a table, or a table without a primary key that embedsql
            can compare.
    """
    found = _find(connection, table)
    if found is None:
        raise DeclarationError(f"there is no table {table!r} in this database")
    oid, schema, name, kind, partitioned = found
    check_is_table(table, kind)
    cursor = connection.cursor(row_factory=tuple_row)
    key = _key(cursor, table, oid)
    if not key:
        raise DeclarationError(
            f"the table {table!r} has no primary key; add one (ALTER TABLE … ADD PRIMARY KEY), "
            "so that vectors can be matched with their rows"
        )
    columns: dict[str, str] = dict(cursor.execute(_COLUMNS, [oid]).fetchall())
    return SourceTable(schema, name, partitioned, key, columns)


def has_row_security(connection: psycopg.Connection, spec: IndexSpec) -> bool:
    """Whether the source has row-level security."""
    found = connection.execute(
        "SELECT relrowsecurity FROM pg_catalog.pg_class AS c "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relname = %s",
        [spec.schema, spec.table],
    ).fetchone()
    return found is not None and bool(found[0])


def hides_rows(connection: psycopg.Connection, spec: IndexSpec) -> bool:
    """Whether row-level security of the source may hide rows from the connection's role."""
    table = sqlfile.quoted(spec.schema, spec.table)
    found = connection.execute(
        "SELECT FROM pg_catalog.pg_class "
        "WHERE oid = pg_catalog.to_regclass(%s) AND pg_catalog.row_security_active(oid)",
        [table],
    )
    return found.rowcount > 0


def check_is_table(name: str, kind: str) -> None:
    """Refuse views, foreign tables and the like.

    Args:
        name: As the user gave it.
        kind: ``pg_class.relkind``.

    Raises:
        DeclarationError: With what it is.
    """
    if kind not in ("r", "p"):
        raise DeclarationError(
            f"{name!r} is {_KINDS.get(kind, 'not a table')}: a semantic index needs a table, "
            "whose triggers see every change"
        )


def check_text_columns(source: SourceTable, text: tuple[str, ...]) -> None:
    """Refuse columns that are not there or hold no text.

    Raises:
        DeclarationError: With the columns there are.
    """
    for name in text:
        if name not in source.columns:
            there = ", ".join(source.columns)
            raise DeclarationError(
                f"the table {source.name!r} has no column {name!r}; it has {there}"
            )
        if source.columns[name] == "bytea":
            raise DeclarationError(f"the column {name!r} of {source.name!r} holds bytes, not text")


def check_vector_column(source: SourceTable, column: str, vector_type: str) -> None:
    """Refuse a column of the source that cannot hold the vectors; one that is not there will be.

    Raises:
        DeclarationError: With what is there.
    """
    if source.partitioned:
        raise DeclarationError(
            f"{source.name!r} is partitioned, and PostgreSQL cannot build an index on all of its "
            "partitions without blocking writers: use storage 'table'"
        )
    found = source.columns.get(column)
    if found is not None and found != vector_type.partition("(")[0]:
        raise DeclarationError(
            f"the column {column!r} of {source.name!r} is there already and holds {found}, not "
            f"{vector_type}: name another (--vector-column)"
        )


def check_name_free(ask: Ask, schema: str, name: str) -> None:
    """Refuse an index name that a relation or a function of the schema has already.

    Raises:
        DeclarationError: With who has it.
    """
    holder = _HOLDER.format(name=sqlfile.literal(name), schema=sqlfile.literal(schema))
    for (taken,) in ask(sqlfile.text(holder)):
        raise name_taken(name, taken)


def name_taken(name: str, by: str) -> DeclarationError:
    """The refusal of an index name that something else has."""
    return DeclarationError(
        f"the name {name!r} is taken by {by}; choose another (--name), or drop that one"
    )


def check_text_configuration(ask: Ask, configuration: str) -> None:
    """Refuse a text-search configuration that the server does not have.

    Raises:
        DeclarationError: With those it has.
    """
    names = [row[0] for row in ask("SELECT cfgname::text FROM pg_catalog.pg_ts_config ORDER BY 1")]
    if configuration not in names:
        raise DeclarationError(
            f"there is no text-search configuration {configuration!r}; there are: "
            + ", ".join(names)
        )


def _key(cursor: psycopg.Cursor[Any], table: str, oid: int) -> tuple[KeyColumn, ...]:
    key = []
    for name, sql_type, nested, undecided in cursor.execute(_KEY, [oid]).fetchall():
        if nested or undecided:
            why = f"is of type {sql_type}" if nested else "has a nondeterministic collation"
            raise DeclarationError(
                f"the key column {name!r} of {table!r} {why}, by which embedsql cannot tell rows "
                "apart; give the table another primary key, and keep this one UNIQUE"
            )
        key.append(KeyColumn(name, sql_type))
    return tuple(key)


def asks(connection: psycopg.Connection) -> Ask:
    """A connection's answers to plain statements."""
    return lambda statement: connection.execute(statement.encode()).fetchall()


def _find(connection: psycopg.Connection, table: str) -> tuple[Any, ...] | None:
    cursor = connection.cursor(row_factory=tuple_row)
    for spelling in (table, quoted(table)):
        try:
            with connection.transaction():
                found = cursor.execute(_TABLE, [spelling]).fetchone()
        except psycopg.Error:  # not a name in SQL's spelling
            continue
        if found is not None:
            return found
    return None
