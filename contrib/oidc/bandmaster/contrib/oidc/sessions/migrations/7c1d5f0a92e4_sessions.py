"""sessions

Revision ID: 7c1d5f0a92e4
Revises:
Create Date: 2026-11-29 10:40:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import op

revision: str = "7c1d5f0a92e4"
down_revision: str | tuple[str, ...] | None = None
branch_labels: str | tuple[str, ...] | None = ("auth_sessions",)
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    """Create the tables of login sessions and of their locks."""
    op.create_table(
        "auth_sessions",
        sa.Column("id", sa.String(64), primary_key=True, comment="SHA-256 of the session's id"),
        sa.Column("subject", sa.String(64), nullable=False, comment="SHA-256 of issuer and subject"),
        sa.Column("sid", sa.String(64), comment="SHA-256 of issuer and sid"),
        sa.Column("record", sa.Text, nullable=False, comment="The session, encrypted"),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_auth_sessions_subject", "auth_sessions", ["subject"])
    op.create_index("ix_auth_sessions_sid", "auth_sessions", ["sid"])
    op.create_index("ix_auth_sessions_expires_at", "auth_sessions", ["expires_at"])
    op.create_table(
        "auth_session_locks",
        sa.Column("id", sa.String(64), primary_key=True, comment="SHA-256 of the session's id"),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    """Drop the tables: every session ends."""
    op.drop_table("auth_session_locks")
    op.drop_table("auth_sessions")
