"""The tables of the box office. All but the list of houses belong to one house each, and are kept apart by it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, DateTime, ForeignKeyConstraint, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bandmaster.contrib.persistence import Outbox, migrations, outbox_table, protect

_Name = String(40)


class Base(DeclarativeBase):
    """What the tables have in common."""


class House(Base):
    """An opera house or a theatre: a tenant. Everybody may see which there are."""

    __tablename__ = "houses"

    id: Mapped[str] = mapped_column(_Name, primary_key=True)
    title: Mapped[str] = mapped_column(String(200))


@protect
class Show(Base):
    """An evening, and how many of its seats are free."""

    __tablename__ = "shows"
    __table_args__ = (CheckConstraint("free >= 0 AND free <= seats", name="ck_shows_free"),)

    tenant_id: Mapped[str] = mapped_column(_Name, primary_key=True)
    id: Mapped[str] = mapped_column(_Name, primary_key=True)
    title: Mapped[str] = mapped_column(String(200))
    seats: Mapped[int]
    free: Mapped[int]


def _its_show() -> ForeignKeyConstraint:
    # With the tenant on both sides: a key without it would tell whether another house has such a show.
    return ForeignKeyConstraint(["tenant_id", "show"], ["shows.tenant_id", "shows.id"])


@protect
class Hold(Base):
    """Seats that are kept for somebody for a while."""

    __tablename__ = "holds"
    # SQLite would give the number of a hold that is gone to the next, and sales know theirs.
    __table_args__ = (_its_show(), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(_Name)
    show: Mapped[str] = mapped_column(_Name)
    seats: Mapped[int]
    until: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)


@protect
class Sale(Base):
    """Seats that were bought."""

    __tablename__ = "sales"
    __table_args__ = (_its_show(), UniqueConstraint("tenant_id", "hold", name="uq_sales_hold"))

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(_Name)
    show: Mapped[str] = mapped_column(_Name)
    seats: Mapped[int]
    hold: Mapped[int]
    printing: Mapped[str | None] = mapped_column(String(32))
    """The task that prints its tickets; none once they are printed."""


outbox = Outbox(outbox_table(Base.metadata))
box_office_migrations = migrations("box_office", "boxoffice:migrations", metadata=Base.metadata)
