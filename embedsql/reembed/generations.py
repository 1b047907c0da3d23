"""Which generations an index has, and the part each of them plays in a model change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from embedsql import sqlfile
from embedsql.errors import ModelChangeError
from embedsql.registry import RegisteredIndex, find_generations


@dataclass(frozen=True)
class Generations:
    """The generations of one index.

    Attributes:
        serving: The one that searches read.
        next: The one that is to follow, or that was rolled back.
        previous: The one before, kept for a rollback.
        dropping: Those whose removal was begun.
        last: The highest number that is in use.
    """

    serving: RegisteredIndex
    next: RegisteredIndex | None
    previous: RegisteredIndex | None
    dropping: Sequence[RegisteredIndex]
    last: int

    @classmethod
    def of(cls, connection: psycopg.Connection, name: str) -> Generations:
        """Those of the index called ``name``.

        Raises:
            IndexNotFoundError: There is none of this name.
        """
        found = find_generations(connection, name)
        serving = next(one for one in found if one.serving)
        kept = [one for one in found if one.state != "dropping"]
        after = [one for one in kept if one.generation > serving.generation]
        before = [one for one in kept if one.generation < serving.generation]
        return cls(
            serving,
            after[-1] if after else None,
            before[0] if before else None,
            [one for one in found if one.state == "dropping"],
            max(one.generation for one in found),
        )

    def require_next(self) -> RegisteredIndex:
        """The generation that is to follow.

        Raises:
            ModelChangeError: There is none.
        """
        if self.next is None:
            raise ModelChangeError(
                f"no change of {self.serving.spec.name!r} is under way; say what is to change, "
                "for example --model"
            )
        return self.next

    def require_previous(self) -> RegisteredIndex:
        """The generation before the one that serves.

        Raises:
            ModelChangeError: None is kept.
        """
        if self.previous is None:
            raise ModelChangeError(
                f"{self.serving.spec.name!r} has no generation before the one that serves: there "
                "was no switch, or --finish has dropped it"
            )
        return self.previous


_OWNER = """
SELECT pg_catalog.pg_get_userbyid(c.relowner)::text,
       pg_catalog.pg_get_userbyid(c.relowner)::text = current_user::text
FROM pg_catalog.pg_class AS c WHERE c.oid = pg_catalog.to_regclass(%s)
"""


def act_as_owner(connection: psycopg.Connection, index: RegisteredIndex) -> None:
    """For the rest of a transaction, be who owns the index, so that all of it has one owner.

    Raises:
        ModelChangeError: This role may not.
    """
    table = sqlfile.text(sqlfile.kit(index.names.log))
    found = connection.execute(_OWNER, [table]).fetchone()
    if found is None or found[1]:
        return
    try:
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(found[0])))
    except psycopg.errors.InsufficientPrivilege as error:
        raise ModelChangeError(
            f"the index {index.spec.name!r} belongs to {found[0]!r}: run this as that role"
        ) from error
