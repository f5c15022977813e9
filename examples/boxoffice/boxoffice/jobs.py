"""What the box office has done in the background."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from taskiq import TaskiqDepends
from taskiq.depends.progress_tracker import ProgressTracker, TaskState

from bandmaster.contrib.persistence import DatabaseManager
from bandmaster.contrib.taskiq import Idempotency, Schedule, task, tasks
from bandmaster.contrib.web import request_context, tenant
from bandmaster.kernel import PermanentError, TransientError
from boxoffice.houses import Houses
from boxoffice.models import Sale
from boxoffice.printer import TicketPrinter


@dataclass(frozen=True, slots=True)
class Printed:
    """How far the tickets of a sale are."""

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
    """Print the tickets of a sale, one for each seat, and note in the books that it has been done."""
    # It travels with the message, and is whose rows the database shows.
    if tenant() != house:
        raise PermanentError(f"tickets of {house!r} were asked for on behalf of {tenant()!r}")
    this = (Sale.tenant_id == house, Sale.id == sale)
    found = (await session.execute(select(Sale.printing).where(*this))).one_or_none()
    if found is None:
        raise PermanentError(f"there is no sale {sale} of {house!r}")
    await session.commit()  # printing takes long: others need the connection meanwhile
    if found.printing is not None:
        # A message may come twice, even to two workers at once; nobody is to get tickets twice.
        async with idempotency.once(f"tickets:{found.printing}") as first:
            if first:
                for seat in range(1, seats + 1):
                    await printer.print(show, sale, seat)
                    with suppress(TransientError):  # it is for the eye alone: printing goes on without
                        await progress.set_progress(TaskState.STARTED, Printed(printed=seat, of=seats))
        await session.execute(update(Sale).where(*this).values(printing=None))
    return Printed(printed=seats, of=seats)


@task(schedule=Schedule(cron="0 4 * * *"))
async def count_sales(houses: Houses = TaskiqDepends(), manager: DatabaseManager = TaskiqDepends()) -> dict[str, int]:
    """Tell every night how many seats each house has sold so far."""
    sold = {}
    for house in houses.titles:
        with request_context(tenant=house):
            async with manager.session() as session:
                seats = select(func.coalesce(func.sum(Sale.seats), 0)).where(Sale.tenant_id == house)
                sold[house] = (await session.scalars(seats)).one()
    structlog.get_logger("boxoffice").info("seats sold", **sold)
    return sold


ticket_tasks = tasks("tickets", print_tickets, count_sales)
