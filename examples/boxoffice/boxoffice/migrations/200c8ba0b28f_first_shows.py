"""first shows

Revision ID: 200c8ba0b28f
Revises: 3cbc5ed5fa69
Create Date: 2026-11-21 07:44:42.711978+00:00
"""

import sqlalchemy as sa
from alembic import op

revision: str = "200c8ba0b28f"
down_revision: str | tuple[str, ...] | None = "3cbc5ed5fa69"
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


HOUSES = {
    "opera": ("Opera", {"aida": "Aida", "carmen": "Carmen", "tosca": "Tosca"}),
    "playhouse": ("Playhouse", {"hamlet": "Hamlet", "macbeth": "Macbeth"}),
}
SEATS = 40


def upgrade() -> None:
    """Insert two houses with their shows."""
    for house, (title, shows) in HOUSES.items():
        op.execute(_houses.insert().values(id=house, title=title))
        _as_tenant(house)
        for show, name in shows.items():
            op.execute(_shows.insert().values(tenant_id=house, id=show, title=name, seats=SEATS, free=SEATS))


def downgrade() -> None:
    """Delete the houses and shows, and with them all holds and sales."""
    for house in HOUSES:
        _as_tenant(house)
        for table in ("sales", "holds", "shows"):
            owner = sa.column("tenant_id", sa.String)
            op.execute(sa.delete(sa.table(table, owner)).where(owner == house))
        op.execute(_houses.delete().where(_houses.c.id == house))


_houses = sa.table("houses", sa.column("id", sa.String), sa.column("title", sa.String))
_shows = sa.table(
    "shows",
    *(sa.column(name, sa.String) for name in ("tenant_id", "id", "title")),
    *(sa.column(name, sa.Integer) for name in ("seats", "free")),
)


def _as_tenant(house: str) -> None:
    # Forced row-level security binds the tables' owner, too: one tenant at a time.
    if op.get_context().dialect.name == "postgresql":
        op.execute(sa.select(sa.func.set_config("app.tenant", sa.literal(house, sa.Text), True)))
