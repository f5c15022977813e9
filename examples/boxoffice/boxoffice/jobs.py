"""The tasks of the box office: print tickets, count sales."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from taskiq import TaskiqDepends
from taskiq.depends.progress_tracker import ProgressTracker, TaskState

from bandmaster.contrib.persistence import DatabaseManager
from bandmaster.contrib.taskiq import Idempotency, Schedule, task, tasks
from bandmaster.contrib.web import request_context, tenant
from bandmaster.kernel import PermanentError, TransientError, get_logger
from boxoffice.houses import Houses
from boxoffice.models import Sale
from boxoffice.printer import TicketPrinter


@dataclass(frozen=True, slots=True)
class Printed:
    """The progress of a printing."""

    printed: int
    of: int


@task(attempts=3, timeout=60)
async def print_tickets(
    house: str,
    show: str,
    seats: int,
    sale: int,
    progress: ProgressTracker[Printed] = TaskiqDepends(),
    session: AsyncSession = TaskiqDepends(),
    idempotency: Idempotency = TaskiqDepends(),
    printer: TicketPrinter = TaskiqDepends(),
) -> Printed:
    """Print the tickets of a sale, one for each seat, and record that they are printed."""
    # The tenant travels with the message, and decides which rows the database shows.
    if tenant() != house:
        raise PermanentError(f"the tenant {tenant()!r} can't print tickets of {house!r}")
    this = (Sale.tenant_id == house, Sale.id == sale)
    found = (await session.execute(select(Sale.printing).where(*this))).one_or_none()
    if found is None:
        raise PermanentError(f"there is no sale {sale} of {house!r}")
    await session.commit()  # printing takes long; the commit returns the connection to the pool
    if found.printing is not None:
        # A message may be delivered twice, even to two workers at once. The tickets must be printed once.
        async with idempotency.once(f"tickets:{found.printing}") as first:
            if first:
                for seat in range(1, seats + 1):
                    await printer.print(show, sale, seat)
                    with suppress(TransientError):  # printing goes on without a progress report
                        await progress.set_progress(TaskState.STARTED, Printed(printed=seat, of=seats))
        await session.execute(update(Sale).where(*this).values(printing=None))
    return Printed(printed=seats, of=seats)


@task(schedule=Schedule(cron="0 4 * * *"))
async def count_sales(houses: Houses = TaskiqDepends(), manager: DatabaseManager = TaskiqDepends()) -> dict[str, int]:
    """Log every night how many seats each house has sold so far."""
    sold = await count_seats(manager, houses.titles)
    get_logger("boxoffice").info("seats sold", houses=sold)
    return sold


async def count_seats(manager: DatabaseManager, houses: Iterable[str]) -> dict[str, int]:
    """How many seats each house has sold."""
    sold = {}
    for house in houses:
        with request_context(tenant=house):
            async with manager.session() as session:
                seats = select(func.coalesce(func.sum(Sale.seats), 0)).where(Sale.tenant_id == house)
                sold[house] = (await session.scalars(seats)).one()
    return sold


ticket_tasks = tasks("tickets", print_tickets, count_sales)
