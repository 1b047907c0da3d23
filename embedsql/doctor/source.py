"""Findings about the source: no longer as declared, or with keys that are compared otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from embedsql import sqlfile
from embedsql.doctor.finding import Finding, Limits, setting
from embedsql.drift import find_drifts
from embedsql.registry import RegisteredIndex
from embedsql.slots import Slots

# the equality that a primary key goes by, where the search_path finds another in its place
_HIDDEN = """
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), n.nspname::text,
       quote_ident(n.nspname),
       current_setting('search_path'), current_user::text, current_database()::text
FROM pg_catalog.pg_index AS i
CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indclass::oid[]) AS k (attnum, class)
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
JOIN pg_catalog.pg_opclass AS c ON c.oid = k.class
JOIN pg_catalog.pg_amop AS o ON o.amopfamily = c.opcfamily AND o.amopstrategy = 3
    AND o.amoplefttype = c.opcintype AND o.amoprighttype = c.opcintype
JOIN pg_catalog.pg_operator AS p ON p.oid = o.amopopr
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.oprnamespace
WHERE i.indrelid = to_regclass(%s) AND i.indisprimary AND NOT pg_operator_is_visible(p.oid)
"""


def examine_source(
    connection: psycopg.Connection, index: RegisteredIndex, limits: Limits
) -> Iterator[Finding]:
    """Drift of the table, its key, its triggers; operators that are not found."""
    name = index.spec.name
    for drift in find_drifts(connection, index):
        yield Finding("error", drift.words, drift.mend, name)
    source = sqlfile.text(Slots(index.spec, index.names).source)
    for column, kind, schema, quoted, path, role, database in connection.execute(
        _HIDDEN, [source]
    ).fetchall():
        yield Finding(
            "warning",
            f"keys {column!r} are {kind}, whose operators stand in the schema {schema!r}, which is "
            f"not on the search_path of this role ({path}): keys are compared otherwise than the "
            "primary key does, or not at all",
            setting(
                "search_path", ", ".join(filter(None, [path, quoted])), role=role, database=database
            ),
            name,
        )
