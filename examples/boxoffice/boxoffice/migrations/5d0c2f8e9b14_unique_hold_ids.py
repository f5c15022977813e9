"""unique hold ids

Revision ID: 5d0c2f8e9b14
Revises: 200c8ba0b28f
Create Date: 2026-11-21 09:31:40.118264+00:00
"""

from alembic import op

revision: str = "5d0c2f8e9b14"
down_revision: str | tuple[str, ...] | None = "200c8ba0b28f"
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    """Keep SQLite from reusing the ids of deleted holds and of holds that were bought."""
    if op.get_context().dialect.name == "sqlite":
        with op.batch_alter_table("holds", recreate="always", table_kwargs={"sqlite_autoincrement": True}):
            pass
        op.execute("DELETE FROM sqlite_sequence WHERE name = 'holds'")
        op.execute(
            "INSERT INTO sqlite_sequence (name, seq) SELECT 'holds', coalesce(max(number), 0)"
            " FROM (SELECT id AS number FROM holds UNION SELECT hold FROM sales)"
        )


def downgrade() -> None:
    """Let SQLite reuse ids again."""
    if op.get_context().dialect.name == "sqlite":
        with op.batch_alter_table("holds", recreate="always", table_kwargs={"sqlite_autoincrement": False}):
            pass
