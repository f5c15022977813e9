"""Parts with migrations, written into a folder of the test."""

import textwrap

from bandmaster.contrib.persistence.migration.branches import Migrations

REVISION = '''\
"""{message}"""

import sqlalchemy as sa
from alembic import op
import bandmaster.contrib.persistence.migration.operations  # noqa: F401

revision = {revision!r}
down_revision = {after!r}
branch_labels = {label!r}
depends_on = {depends_on!r}


def upgrade():
{up}


def downgrade():
{down}
'''


def write(folder, revision, after=None, *, label=None, depends_on=None, up="pass", down="pass", message=None):
    """Write a revision file. The first revision of a folder begins the branch that is named like the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if after is None and label is None:
        label = (folder.name,)
    path = folder / f"{revision}.py"
    path.write_text(
        REVISION.format(
            message=message or f"makes {revision}",
            revision=revision,
            after=after,
            label=label,
            depends_on=depends_on,
            up=textwrap.indent(textwrap.dedent(up).strip(), "    "),
            down=textwrap.indent(textwrap.dedent(down).strip(), "    "),
        )
    )
    return path


def table(name, tenant=False):
    """The statements of a revision that creates a table, and those that drop the table."""
    columns = 'sa.Column("id", sa.Integer, primary_key=True)'
    if tenant:
        columns += ', sa.Column("tenant_id", sa.Uuid, nullable=False)'
    up = f'op.create_table("{name}", {columns})'
    down = f'op.drop_table("{name}")'
    if tenant:
        up += f'\nop.enable_tenant_rls("{name}")'
        down = f'op.disable_tenant_rls("{name}")\n{down}'
    return {"up": up, "down": down}


def shop(folder, metadata=None):
    """A part with two revisions: goods, and orders that belong to tenants."""
    write(folder / "shop", "s1", **table("goods"))
    write(folder / "shop", "s2", "s1", **table("orders", tenant=True))
    return Migrations("shop", folder / "shop", metadata)


def billing(folder, metadata=None, depends_on=()):
    """A part with one revision: bills."""
    write(folder / "billing", "b1", depends_on="s2" if depends_on else None, **table("bills"))
    return Migrations("billing", folder / "billing", metadata, depends_on)
