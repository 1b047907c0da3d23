"""Install embedsql's own schema."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.install_embedsql(version=1)  # type: ignore[attr-defined]


def downgrade() -> None:
    op.uninstall_embedsql(version=1)  # type: ignore[attr-defined]
