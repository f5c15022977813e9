"""The rules of the box office. The caller owns the session.

Every statement names the house. On PostgreSQL, row-level security separates the houses as well; SQLite can't.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from boxoffice.jobs import print_tickets
from boxoffice.models import Hold, Sale, Show, outbox


class SoldOutError(Exception):
    """Too few seats are free."""


class UnknownError(LookupError):
    """A show, a sale or a hold doesn't exist, or the hold has expired."""


class BoxOffice:
    """Holds seats, sells them and releases expired holds."""

    def __init__(self, hold_seconds: float) -> None:
        self.hold_seconds = hold_seconds

    async def shows(self, session: AsyncSession, house: str) -> Sequence[Show]:
        """Every show of a house, with its free seats."""
        return (await session.scalars(select(Show).where(Show.tenant_id == house).order_by(Show.title))).all()

    async def hold(self, session: AsyncSession, house: str, show: str, seats: int) -> Hold:
        """Hold seats for ``hold_seconds``.

        Raises:
            UnknownError: the show doesn't exist.
            SoldOutError: too few seats are free.
        """
        this = (Show.tenant_id == house, Show.id == show)
        # One statement checks and takes the seats, so that two buyers can't both take the last ones.
        taken = update(Show).where(*this, Show.free >= seats).values(free=Show.free - seats).returning(Show.id)
        if await session.scalar(taken) is None:
            found = await session.scalar(select(Show).where(*this))
            if found is None:
                raise UnknownError(f"there is no show {show!r}")
            raise SoldOutError(f"{found.title} has {found.free} seats left, not {seats}")
        until = datetime.now(UTC) + timedelta(seconds=self.hold_seconds)
        held = Hold(tenant_id=house, show=show, seats=seats, until=until)
        session.add(held)
        await session.flush()
        return held

    async def buy(self, session: AsyncSession, house: str, hold: int) -> Sale:
        """Turn a hold into a sale. The tickets are printed if the transaction commits.

        Raises:
            UnknownError: the hold doesn't exist, or has expired.
        """
        mine = delete(Hold).where(Hold.tenant_id == house, Hold.id == hold, Hold.until > datetime.now(UTC))
        held = (await session.execute(mine.returning(Hold.show, Hold.seats))).one_or_none()
        if held is None:
            raise UnknownError(f"there is no hold {hold}; it may have run out")
        sale = Sale(tenant_id=house, show=held.show, seats=held.seats, hold=hold)
        session.add(sale)
        await session.flush()
        order = {"house": house, "show": sale.show, "seats": sale.seats, "sale": sale.id}
        # The outbox sends the message as a task with the same id.
        sale.printing = await outbox.add(session, print_tickets.name, order)
        return sale

    async def sale(self, session: AsyncSession, house: str, sale: int) -> Sale:
        """Find a sale.

        Raises:
            UnknownError: the sale doesn't exist.
        """
        found = await session.scalar(select(Sale).where(Sale.tenant_id == house, Sale.id == sale))
        if found is None:
            raise UnknownError(f"there is no sale {sale}")
        return found

    async def expire(self, session: AsyncSession, house: str) -> Sequence[tuple[str, int]]:
        """Release expired holds. Return each show with the number of its released seats."""
        over = delete(Hold).where(Hold.tenant_id == house, Hold.until <= datetime.now(UTC))
        found = [(show, seats) for show, seats in await session.execute(over.returning(Hold.show, Hold.seats))]
        for show, seats in found:
            this = (Show.tenant_id == house, Show.id == show)
            await session.execute(update(Show).where(*this).values(free=Show.free + seats))
        return found
