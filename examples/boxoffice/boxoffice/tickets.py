"""How far the tickets of a sale are, as the books and the task queue tell it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

import anyio

from bandmaster.contrib.taskiq import TaskQueue
from bandmaster.kernel import Drain, TransientError

_LOOK = 0.2
"""Seconds between two looks."""


@dataclass(frozen=True, slots=True)
class Tickets:
    """The tickets of a sale."""

    state: Literal["waiting", "printing", "printed", "failed"]
    """Waiting is for somebody who prints: a worker."""
    printed: int
    of: int

    @property
    def over(self) -> bool:
        """Whether nothing changes any more."""
        return self.state in ("printed", "failed")


async def tickets(queue: TaskQueue, printing: str | None, seats: int) -> Tickets:
    """How far they are now; ``printing`` is the task that prints them, none once it has.

    Raises:
        TransientError: the queue can't be asked.
    """
    if printing is None:
        return Tickets("printed", seats, seats)
    handle = queue.handle(printing)
    report = await handle.get_progress()
    printed = 0 if report is None or report.meta is None else int(report.meta["printed"])
    if await handle.is_ready():
        failed = (await handle.get_result()).is_err
        return Tickets("failed", printed, seats) if failed else Tickets("printed", seats, seats)
    return Tickets("waiting" if report is None else "printing", printed, seats)


async def watch(
    queue: TaskQueue, printing: str | None, seats: int, drain: Drain, *, longest: float
) -> AsyncIterator[Tickets]:
    """Now and whenever it has changed, until it is over, draining begins, or ``longest`` seconds have passed."""
    known: Tickets | None = None
    end = anyio.current_time() + longest
    while not drain.begun and anyio.current_time() < end:
        try:
            now = await tickets(queue, printing, seats)
        except TransientError:
            pass  # the next look comes soon enough
        else:
            if now != known:
                yield now
                known = now
            if now.over:
                return
        with anyio.move_on_after(_LOOK):
            await drain.wait()
