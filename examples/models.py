"""The demo's table and the semantic index on it: all that an application has to declare.

``migrations/`` makes both in the database.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Identity, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from embedsql import SemanticIndex


class Base(DeclarativeBase):
    """What Alembic compares the database with."""


class PythonDoc(Base):
    """One documented module, class or function of Python's standard library.

    Attributes:
        id: Given by the database.
        name: As one would import it, ``subprocess.run``.
        kind: ``module``, ``class``, ``function`` or ``method``.
        signature: As in the source, ``(args, *, check=False)``; empty for a module.
        doc: The documentation string.
    """

    __tablename__ = "python_doc"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    kind: Mapped[str] = mapped_column(Text)
    signature: Mapped[str] = mapped_column(Text)
    doc: Mapped[str] = mapped_column(Text)


python_doc_search = SemanticIndex(
    "python_doc_search",
    PythonDoc,
    text=("name", "doc"),
    dimensions=384,
    quantization="halfvec",
)
