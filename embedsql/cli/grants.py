"""``embedsql grant``: let a role that owns nothing work, or search."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import psycopg
import typer

from embedsql import registry, sqlfile
from embedsql.catalog import has_row_security
from embedsql.cli.options import DatabaseUrl, PrintSql, note, open_database
from embedsql.errors import ConfigurationError
from embedsql.grants import grant_statements, missing_grants, policy_statements
from embedsql.registry import RegisteredIndex, find_generations
from embedsql.slots import Slots

_BYPASSED = """
SELECT NOT c.relrowsecurity OR r.rolbypassrls OR r.rolsuper
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace,
     pg_catalog.pg_roles AS r
WHERE n.nspname = %s AND c.relname = %s AND r.rolname = %s
"""

# a table that is read by its own name asks no policies of its parents or its partitions
_OTHER_POLICIES = """
SELECT string_agg(c.oid::regclass::text, ', ' ORDER BY c.oid::regclass::text)
FROM (VALUES (to_regclass(%s)::oid)) AS s (oid), LATERAL (
    SELECT relid FROM pg_partition_ancestors(s.oid) UNION SELECT relid FROM pg_partition_tree(s.oid)
) AS p JOIN pg_catalog.pg_class AS c ON c.oid = p.relid
WHERE c.relrowsecurity AND c.oid <> s.oid
"""


class Purposes(StrEnum):
    """What a role is for."""

    WORKER = "worker"
    SEARCH = "search"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("grant", no_args_is_help=True)(grant)


def grant(
    purpose: Annotated[Purposes, typer.Argument(help="What the role is for.", show_default=False)],
    role: Annotated[str, typer.Argument(metavar="ROLE", help="Its exact name; it must exist.")],
    index: Annotated[str | None, typer.Option("--index", help="Only on this index.")] = None,
    database_url: DatabaseUrl = None,
    print_sql: PrintSql = False,
) -> None:
    """Grant a role what a worker or a search needs, and nothing more; run as the owner."""
    with open_database(database_url) as connection:
        chosen = list(
            find_generations(connection, index) if index else registry.all_indexes(connection)
        )
        if not chosen:
            raise ConfigurationError("there is no semantic index yet; first: embedsql add")
        # statements on what all indexes share come once
        statements = dict.fromkeys(
            statement
            for one in chosen
            for statement in grant_statements(one.spec, role, purpose.value, one.names)
        )
        if purpose is Purposes.SEARCH:
            for one in chosen:
                if has_row_security(connection, one.spec):
                    statements |= dict.fromkeys(policy_statements(one.spec, one.names))
                else:
                    _note_other_policies(connection, one)
        if print_sql:
            for statement in statements:
                typer.echo(statement + "\n")
            return
        _require_role(connection, role)
        with connection.transaction():
            for statement in statements:
                connection.execute(statement.encode())
            for one in chosen:
                _check_granted(connection, one, role, purpose)
        for one in chosen:
            if purpose is Purposes.WORKER:
                _note_row_security(connection, one, role)
    verb = "work on" if purpose is Purposes.WORKER else "search"
    note(f"{role} may now {verb}: {', '.join(one.label for one in chosen)}")


def _require_role(connection: psycopg.Connection, role: str) -> None:
    there = connection.execute(
        "SELECT FROM pg_catalog.pg_roles WHERE rolname::text = %s", [role]
    ).fetchone()
    if there is None:
        raise ConfigurationError(f"there is no role {role!r}; first, in SQL: CREATE ROLE … LOGIN")


def _check_granted(
    connection: psycopg.Connection, index: RegisteredIndex, role: str, purpose: Purposes
) -> None:
    """A GRANT by one who may not grant is only a warning to PostgreSQL."""
    missing = missing_grants(connection, index.spec, purpose.value, index.names, role)
    if missing:
        raise ConfigurationError(
            "this connection's role may not grant everything, so nothing was granted; the owner "
            f"may: {' '.join(missing)}"
        )


def _note_other_policies(connection: psycopg.Connection, index: RegisteredIndex) -> None:
    source = sqlfile.text(Slots(index.spec, index.names).source)
    (others,) = connection.execute(_OTHER_POLICIES.encode(), [source]).fetchone() or (None,)
    if others is not None:
        note(
            f"{source} has no row-level security, and that of {others} does not hold where it is "
            "searched: first enable it there, with policies of its own, if it is to hide rows"
        )


def _note_row_security(connection: psycopg.Connection, index: RegisteredIndex, role: str) -> None:
    spec = index.spec
    found = connection.execute(_BYPASSED, [spec.schema, spec.table, role]).fetchone()
    if found is not None and not found[0]:
        note(
            f"{spec.schema}.{spec.table} has row-level security: a worker must see every row, so "
            f"a superuser has to give {role} BYPASSRLS (ALTER ROLE … BYPASSRLS)"
        )
