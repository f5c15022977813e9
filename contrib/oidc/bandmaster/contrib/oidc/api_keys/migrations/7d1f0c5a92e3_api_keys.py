"""api keys

Revision ID: 7d1f0c5a92e3
Revises:
Create Date: 2026-11-29 10:40:12.402913+00:00
"""

import sqlalchemy as sa
from alembic import op

revision: str = "7d1f0c5a92e3"
down_revision: str | tuple[str, ...] | None = None
branch_labels: str | tuple[str, ...] | None = ("auth_api_keys",)
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "auth_api_keys",
        sa.Column("id", sa.String(length=13), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("hashed_with", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("replaced_by", sa.String(length=13), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_auth_api_keys_owner", "auth_api_keys", ["owner"])
    op.create_index("ix_auth_api_keys_hashed_with", "auth_api_keys", ["hashed_with"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_index("ix_auth_api_keys_hashed_with", table_name="auth_api_keys")
    op.drop_index("ix_auth_api_keys_owner", table_name="auth_api_keys")
    op.drop_table("auth_api_keys")
