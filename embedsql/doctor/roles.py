"""Findings about the roles that others work and search as: what each lacks, or sees too much."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from embedsql import sqlfile
from embedsql.doctor.finding import Finding, Limits
from embedsql.grants import missing_grants, policy_statements
from embedsql.registry import RegisteredIndex
from embedsql.slots import Slots

# Roles that were let work or search (a GRANT on the registry says which) and read the source; and
# whether one was granted something on the index itself. The connection's own is examined elsewhere.
_ROLES = """
WITH granted AS (
    SELECT c.oid, a.grantee FROM pg_catalog.pg_class AS c, aclexplode(c.relacl) AS a
    UNION SELECT t.attrelid, a.grantee FROM pg_catalog.pg_attribute AS t, aclexplode(t.attacl) AS a
)
SELECT DISTINCT r.rolname::text, p.purpose, EXISTS (
    SELECT FROM granted AS g JOIN unnest(%(own)s::text[]) AS o (name) ON g.oid = to_regclass(o.name)
    WHERE g.grantee = r.oid
) AS known
FROM (VALUES ('worker', 'problem', 'UPDATE'), ('search', 'similarity_mean', 'SELECT'))
    AS p (purpose, attname, word)
JOIN pg_catalog.pg_attribute AS t
    ON t.attrelid = 'embedsql.semantic_index'::regclass AND t.attname = p.attname,
aclexplode(t.attacl) AS a
JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee
WHERE a.privilege_type = p.word AND NOT r.rolsuper AND r.rolname <> current_user
    AND (to_regclass(%(source)s)::oid, r.oid) IN (SELECT g.oid, g.grantee FROM granted AS g)
ORDER BY 1, 2
"""


# Roles to whom the source's policies apply, and who may read a table of ours that has none.
_UNGUARDED = """
SELECT DISTINCT coalesce(quote_literal(r.rolname), 'PUBLIC')
FROM pg_catalog.pg_class AS s, unnest(%(tables)s::text[]) AS t (name)
JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass(t.name) AND NOT c.relrowsecurity,
aclexplode(c.relacl) AS a LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee
WHERE s.oid = to_regclass(%(source)s) AND s.relrowsecurity AND a.grantee <> c.relowner
    AND (r.rolsuper OR r.rolbypassrls) IS NOT TRUE
ORDER BY 1
"""


def examine_roles(
    connection: psycopg.Connection, index: RegisteredIndex, limits: Limits
) -> Iterator[Finding]:
    """What other roles lack that read the source, and may read that it hides from them."""
    yield from _unguarded(connection, index)
    yield from _lacking(connection, index)


def _unguarded(connection: psycopg.Connection, index: RegisteredIndex) -> Iterator[Finding]:
    slots = Slots(index.spec, index.names)
    tables = [sqlfile.text(table) for table in (slots.chunk, slots.log)]
    values = {"tables": tables, "source": sqlfile.text(slots.source)}
    roles = [role for (role,) in connection.execute(_UNGUARDED.encode(), values).fetchall()]
    if roles:
        yield Finding(
            "warning",
            f"{values['source']} has row-level security, and {', '.join(roles)} may read "
            f"{' and '.join(tables)}, which hide no row: it came after the GRANT",
            "\n".join(policy_statements(index.spec, index.names)),
            index.spec.name,
        )


def _lacking(connection: psycopg.Connection, index: RegisteredIndex) -> Iterator[Finding]:
    slots, name = Slots(index.spec, index.names), index.spec.name
    own = [sqlfile.text(relation) for relation in (slots.chunk_view, slots.index_view)]
    values = {"own": own, "source": sqlfile.text(slots.source)}
    for role, purpose, known in connection.execute(_ROLES.encode(), values).fetchall():
        missing = missing_grants(connection, index.spec, purpose, index.names, role)
        if not missing:
            continue
        verb = "work on" if purpose == "worker" else "search"
        may = "has some privileges on the index" if known else "reads the source"
        yield Finding(
            "warning" if known else "note",
            f"the role {role!r} {may}, but lacks {len(missing)} that a {purpose} needs; if it is "
            f"meant to {verb} it, their owner grants them",
            "\n".join(missing),
            name,
        )
