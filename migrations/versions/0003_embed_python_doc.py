"""Make the semantic index on the demo's table."""

from __future__ import annotations

from typing import Any

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# a literal, not the application's live declaration: this revision must never change its meaning
INDEX: dict[str, Any] = {
    "name": "python_doc_search",
    "table": "python_doc",
    "key": {"id": "bigint"},
    "text": ("name", "doc"),
    "model": "sentence-transformers/all-MiniLM-L6-v2",
    "dimensions": 384,
    "quantization": "halfvec",
    "lexical": "english",
}


def upgrade() -> None:
    op.create_semantic_index(**INDEX)  # type: ignore[attr-defined]


def downgrade() -> None:
    op.drop_semantic_index(**INDEX)  # type: ignore[attr-defined]
