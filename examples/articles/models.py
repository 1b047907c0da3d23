"""The application's table, and the semantic index that is declared on it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Identity, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from embedsql import SemanticIndex


class Base(DeclarativeBase):
    """What Alembic compares the database with."""


class Article(Base):
    """Something to read.

    Attributes:
        id: Given by the database.
        tenant_id: Whose it is: no tenant finds another's.
        title: One line.
        body: Markdown.
    """

    __tablename__ = "article"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    tenant_id: Mapped[int] = mapped_column(index=True)
    title: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)


article_search = SemanticIndex(
    "article_search",
    Article,
    text=("title", "body"),
    dimensions=384,
    quantization="halfvec",
)
