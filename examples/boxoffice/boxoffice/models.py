"""The tables of the box office. The rows of every table but the list of houses belong to one house, their tenant."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, DateTime, ForeignKeyConstraint, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bandmaster.contrib.persistence import Outbox, migrations, outbox_table, protect

_Name = String(40)


class Base(DeclarativeBase):
    """The base of all tables."""


class House(Base):
    """An opera house or a theatre: a tenant. Every tenant may read this table."""

    __tablename__ = "houses"

    id: Mapped[str] = mapped_column(_Name, primary_key=True)
    title: Mapped[str] = mapped_column(String(200))


@protect
class Show(Base):
    """One performance and the number of its free seats."""

    __tablename__ = "shows"
    __table_args__ = (CheckConstraint("free >= 0 AND free <= seats", name="ck_shows_free"),)

    tenant_id: Mapped[str] = mapped_column(_Name, primary_key=True)
    id: Mapped[str] = mapped_column(_Name, primary_key=True)
    title: Mapped[str] = mapped_column(String(200))
    seats: Mapped[int]
    free: Mapped[int]


def _reference_show() -> ForeignKeyConstraint:
    # The key contains the tenant; a key without it would reveal whether another house has such a show.
    return ForeignKeyConstraint(["tenant_id", "show"], ["shows.tenant_id", "shows.id"])


@protect
class Hold(Base):
    """Seats that are kept for one buyer until a given time."""

    __tablename__ = "holds"
    # Without autoincrement SQLite reuses the ids of deleted holds, and sales keep the id of their hold.
    __table_args__ = (_reference_show(), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(_Name)
    show: Mapped[str] = mapped_column(_Name)
    seats: Mapped[int]
    until: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)


@protect
class Sale(Base):
    """Seats that were bought."""

    __tablename__ = "sales"
    __table_args__ = (_reference_show(), UniqueConstraint("tenant_id", "hold", name="uq_sales_hold"))

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(_Name)
    show: Mapped[str] = mapped_column(_Name)
    seats: Mapped[int]
    hold: Mapped[int]
    printing: Mapped[str | None] = mapped_column(String(32))
    """The id of the task that prints the tickets; null when they are printed."""


outbox = Outbox(outbox_table(Base.metadata))
box_office_migrations = migrations("box_office", "boxoffice:migrations", metadata=Base.metadata)
