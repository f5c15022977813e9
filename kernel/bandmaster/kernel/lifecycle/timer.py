"""Enforce deadlines: call a function when a component's start or stop has reached the timeout."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import anyio
import sniffio

from bandmaster.kernel.lifecycle.cancellation import wait_through


def get_clock() -> Callable[[], float]:
    """Return the clock of the event loop that runs now.

    The engine reads the clock several times for each component. `anyio.current_time` finds the event loop anew with
    each call, which takes 5 % of the CPU time of a start and stop (``benchmarks/bench_lifecycle.py``).
    """
    if sniffio.current_async_library() == "trio":
        import trio

        return trio.current_time
    import asyncio

    return asyncio.get_running_loop().time


class Timed(Protocol):
    """An object with at most one deadline."""

    deadline: float
    """In seconds of the event loop's clock; infinite for none. Only `Timer` sets a finite one."""


T = TypeVar("T", bound=Timed)


class Timer(Generic[T]):
    """Calls ``ring`` with each object past its deadline, and with the present time.

    One task keeps the time of all. A cancel scope with a deadline around each start couldn't do so: such a scope would
    have to close when the start is over, inside the scopes that the component keeps open until its stop.
    """

    def __init__(self, ring: Callable[[T, float], None]) -> None:
        self._ring = ring
        self._alarms: list[tuple[float, int, T]] = []
        self._alarm_number = 0
        """Decides between alarms of one time, since the objects themselves can't be compared."""
        self._changed = anyio.Event()
        self._stopped = False

    def set_deadline(self, timed: T, deadline: float) -> None:
        """Give an object a deadline in place of any earlier one."""
        timed.deadline = deadline
        self._alarm_number += 1
        alarm = (deadline, self._alarm_number, timed)
        heapq.heappush(self._alarms, alarm)
        if self._alarms[0] is alarm:
            # The timer's task sleeps until an alarm that isn't the next one any more.
            self._changed.set()

    def stop(self) -> None:
        """Let `run` return."""
        self._stopped = True
        self._changed.set()

    async def run(self) -> None:
        """Ring until `stop` is called, in spite of cancellations: the stop needs deadlines, too."""
        while not self._stopped:
            self._changed = anyio.Event()
            pause = anyio.CancelScope(deadline=self._alarms[0][0] if self._alarms else math.inf, shield=True)
            await wait_through([self._changed], pause)
            self._ring_due(anyio.current_time())

    def _ring_due(self, now: float) -> None:
        while self._alarms and self._alarms[0][0] <= now:
            deadline, _, timed = heapq.heappop(self._alarms)
            # Taking an alarm out of the middle of a heap is slow, so an alarm stays there when its object is over in
            # time or gets more time. Such an alarm no longer matches the object's deadline.
            if timed.deadline == deadline:
                self._ring(timed, now)
