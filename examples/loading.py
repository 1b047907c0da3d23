"""Put the rows into the table, touching only what differs: the rest is not embedded again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import delete, literal_column, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from examples.models import PythonDoc
from examples.stdlib_docs import StdlibDoc


@dataclass(frozen=True)
class Changes:
    """How many rows were touched."""

    added: int
    changed: int
    removed: int


def store_docs(session: Session, docs: Sequence[StdlibDoc]) -> Changes:
    """Make the table hold exactly ``docs``, in the session's transaction; the name is the key."""
    return Changes(*_upsert(session, docs), _remove_others(session, docs))


def _upsert(session: Session, docs: Sequence[StdlibDoc]) -> tuple[int, int]:
    """Returns how many rows were added and how many changed."""
    statement = insert(PythonDoc).values([asdict(doc) for doc in docs])
    new = statement.excluded
    stored = tuple_(PythonDoc.kind, PythonDoc.signature, PythonDoc.doc)
    written: Sequence[bool] = session.scalars(
        statement.on_conflict_do_update(
            index_elements=[PythonDoc.name],
            set_={"kind": new.kind, "signature": new.signature, "doc": new.doc},
            where=stored.is_distinct_from(tuple_(new.kind, new.signature, new.doc)),
        ).returning(literal_column("python_doc.xmax = 0"))  # true where no row was there before
    ).all()
    return sum(written), len(written) - sum(written)


def _remove_others(session: Session, docs: Sequence[StdlibDoc]) -> int:
    others = PythonDoc.name.not_in([doc.name for doc in docs])
    return len(session.scalars(delete(PythonDoc).where(others).returning(PythonDoc.id)).all())
