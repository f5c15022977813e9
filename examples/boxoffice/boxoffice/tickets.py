"""The progress of printing the tickets of a sale, from the database and the task queue."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

import anyio

from bandmaster.contrib.taskiq import TaskQueue
from bandmaster.kernel import Drain, TransientError

_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Tickets:
    """The progress of one sale's tickets."""

    state: Literal["waiting", "printing", "printed", "failed"]
    """Waiting means that no worker has begun."""
    printed: int
    of: int

    @property
    def over(self) -> bool:
        """Whether this state is final."""
        return self.state in ("printed", "failed")


async def tickets(queue: TaskQueue, printing: str | None, seats: int) -> Tickets:
    """Read the progress now. ``printing`` is the id of the printing task, None after the tickets are printed.

    Raises:
        TransientError: the queue can't be reached.
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
    """Yield the progress now and at every change, until it is final, the drain begins or ``longest`` seconds pass."""
    known: Tickets | None = None
    end = anyio.current_time() + longest
    while not drain.begun and anyio.current_time() < end:
        try:
            now = await tickets(queue, printing, seats)
        except TransientError:
            pass  # the next poll tries again
        else:
            if now != known:
                yield now
                known = now
            if now.over:
                return
        with anyio.move_on_after(_POLL_SECONDS):
            await drain.wait()
