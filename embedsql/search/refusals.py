"""What the server says of a search that cannot be, as errors of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError

from embedsql.errors import IndexNotFoundError, QueryError
from embedsql.naming import SCHEMA
from embedsql.search.target import Target

# no such table, schema, function
_ABSENT = frozenset({"42P01", "3F000", "42883"})
_WRONG_VALUE = "22000"


@contextmanager
def refusals(target: Target) -> Iterator[None]:
    """A block that runs statements of one index.

    Raises:
        IndexNotFoundError: The database does not have the index.
        QueryError: The query's vector is of another length.
    """
    try:
        yield
    except DBAPIError as error:
        state, said = getattr(error.orig, "sqlstate", None), str(error.orig)
        if state in _ABSENT and (f"{SCHEMA}." in said or f'"{SCHEMA}"' in said):
            raise IndexNotFoundError(
                f"this database has no semantic index {target.index!r}: run the migration that "
                "makes it (alembic upgrade head), or embedsql add"
            ) from error
        if state == _WRONG_VALUE and "dimensions" in said:
            first = said.partition("\n")[0]
            raise QueryError(
                f"the query's vector does not fit the index {target.index!r}: {first}"
            ) from error
        raise
