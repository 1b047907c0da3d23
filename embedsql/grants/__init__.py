"""What a role needs that only works, or only searches; and nothing more.

The role that installs and adds owns everything. A *worker* role embeds, a *search* role searches.
The GRANTs stand in the ``.sql`` files of this folder. They are read twice: as statements, and as
the list of privileges that ``missing_grants`` compares with what a role holds, so that a worker
that lost one can name the statement that mends it.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from embedsql import sqlfile
from embedsql.errors import ConfigurationError
from embedsql.grants.needs import Purpose, files, held, objects_of, privileges, rows
from embedsql.naming import MAX_BYTES, ObjectNames
from embedsql.slots import Slots, dollar_quoted
from embedsql.spec import IndexSpec

__all__ = [
    "Purpose",
    "allow_again_statements",
    "grant_statements",
    "keep_roles_statements",
    "missing_grants",
    "policy_statements",
]


def grant_statements(
    spec: IndexSpec, role: str, purpose: Purpose, names: ObjectNames | None = None
) -> list[str]:
    """The GRANTs that let ``role`` work or search on one index.

    Args:
        spec: The declaration.
        role: The role's exact name, unquoted.
        purpose: ``worker`` or ``search``.
        names: The index's objects, where its generation is not the first.

    Raises:
        ConfigurationError: No role can be meant by this name.
    """
    _check_role(role)
    slots = Slots(spec, names)
    return [
        sqlfile.text(statement)
        for file in files(spec, purpose)
        for statement in sqlfile.script(
            __name__,
            file,
            role=sqlfile.identifier(role),
            source_schema=sqlfile.identifier(spec.schema),
            key=sqlfile.comma(sqlfile.identifier(column.name) for column in spec.key),
            watched=sqlfile.comma(sqlfile.identifier(name) for name in spec.watched),
            vector_column=sqlfile.identifier(spec.vector_column),
            **{slot: sqlfile.identifier(*name) for slot, name in objects_of(slots).items()},
        )
    ]


def policy_statements(spec: IndexSpec, names: ObjectNames | None = None) -> list[str]:
    """The row-level security of an index's chunks and change log, where its source has one.

    A search role may read these tables. The searches join the source, whose policies hold; with
    these statements they hold for whoever reads the tables alone.
    """
    slots = Slots(spec, names)
    return [
        sqlfile.text(statement)
        for table in (slots.names.chunk, slots.names.log)
        for statement in sqlfile.script(
            __name__,
            "policy.sql",
            table=sqlfile.kit(table),
            source=slots.source,
            # a policy's condition calls its table by name: it can have no alias
            key_match=slots.key_match("s", table),
        )
    ]


def keep_roles_statements(spec: IndexSpec, names: ObjectNames, instead: str) -> list[str]:
    """The statements that keep who can work or search on an index that is about to be dropped.

    Args:
        spec: Its declaration.
        names: Its objects.
        instead: The name of the index that is made after it.
    """
    slots = Slots(spec, names)
    statements = sqlfile.script(
        __name__,
        "keep_roles.sql",
        kept=_kept(instead),
        chunk_view=sqlfile.literal(sqlfile.text(slots.chunk_view)),
        privileges=_all_privileges(slots),
        held=held(sql.SQL("r.rolname")),
    )
    return [sqlfile.text(statement) for statement in statements]


def allow_again_statements(spec: IndexSpec) -> list[str]:
    """The statements that let those work or search again on the index that was made instead."""
    kept = _kept(spec.name)
    body = sqlfile.statement(
        __name__,
        "body_allow_again.sql",
        kept=kept,
        kept_text=sqlfile.literal(sqlfile.text(kept)),
        privileges=_all_privileges(Slots(spec)),
        held=held(sql.SQL("r.role")),
    )
    quoted = dollar_quoted(sqlfile.text(body))
    statements = sqlfile.script(__name__, "allow_again.sql", kept=kept, body=quoted)
    return [sqlfile.text(statement) for statement in statements]


def missing_grants(
    connection: psycopg.Connection,
    spec: IndexSpec,
    purpose: Purpose,
    names: ObjectNames | None = None,
    role: str | None = None,
) -> list[str]:
    """The GRANTs of what a role lacks, each of one privilege; none where it lacks nothing.

    Args:
        connection: In autocommit mode.
        spec: The declaration.
        purpose: ``worker`` or ``search``.
        names: See ``grant_statements``.
        role: ``None``: the connection's own.
    """
    if role is None:
        row = connection.execute("SELECT current_user::text").fetchone()
        assert row is not None
        role = str(row[0])
    needed = list(privileges(Slots(spec, names), purpose))
    name = sql.SQL("{}::name").format(sqlfile.literal(role))
    query = sqlfile.statement(__name__, "missing.sql", privileges=rows(needed), held=held(name))
    found = connection.execute(sqlfile.text(query).encode()).fetchall()
    return [needed[place].grant_to(role) for (place,) in found]


def _kept(instead: str) -> sql.Identifier:
    return sqlfile.identifier("pg_temp", ObjectNames(instead).kept_roles)


def _all_privileges(slots: Slots) -> sql.Composed:
    return rows([*privileges(slots, "worker"), *privileges(slots, "search")])


def _check_role(role: str) -> None:
    if not role or "\0" in role or len(role.encode()) > MAX_BYTES:
        raise ConfigurationError(
            f"{role!r} cannot be a role's name: use 1 to {MAX_BYTES} bytes, without NUL"
        )
    if role in ("public", "none"):  # reserved; GRANT takes even a quoted "public" for everybody
        raise ConfigurationError(
            f"{role!r} cannot be a role's name: it is a reserved word, so create a role for this "
            "purpose (CREATE ROLE … LOGIN)"
        )
