"""Run event loops in virtual time, with a count of task steps, a hook before each, and shuffled schedules."""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from asyncio import base_events
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio
import trio.testing
from trio._core import _run as trio_internals

Hook = Callable[[int], None]
"""Called before each step of a task, with its number."""

MOST_STEPS_AT_ONE_TIME = 20_000
LATEST = 5_000.0
"""Seconds. No case takes as long, unless something is repeated for ever."""


class Deadlock(BaseException):
    """Every task waits, and no timer is set."""


class Livelock(BaseException):
    """Tasks take steps without end: no time passes, or all of it."""


class VirtualLoop(base_events.BaseEventLoop):
    """An asyncio event loop without I/O: when no task is ready, the time jumps to the next timer."""

    def __init__(self, hook: Hook | None = None, seed: int | None = None) -> None:
        super().__init__()
        self.steps = 0
        self.noise: list[dict[str, Any]] = []
        self._now = 0.0
        self._hook = hook
        self._random = None if seed is None else random.Random(seed)
        self._turns_at_this_time = 0
        self.set_exception_handler(lambda _, context: self.noise.append(context))

    def time(self) -> float:
        return self._now

    def _write_to_self(self) -> None:
        """There is no selector to wake."""

    def _run_once(self) -> None:
        while self._scheduled and self._scheduled[0]._cancelled:
            heapq.heappop(self._scheduled)._scheduled = False
        if not self._ready and not self._stopping:
            if not self._scheduled or self._scheduled[0]._when == math.inf:
                raise Deadlock  # AnyIO's sleep_forever() is a timer at infinity
            self._now, self._turns_at_this_time = max(self._now, self._scheduled[0]._when), 0
        self._turns_at_this_time += 1
        if self._turns_at_this_time > MOST_STEPS_AT_ONE_TIME or self._now > LATEST:
            raise Livelock
        while self._scheduled and self._scheduled[0]._when <= self._now:
            handle = heapq.heappop(self._scheduled)
            handle._scheduled = False
            self._ready.append(handle)
        self._shuffle()
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if handle._cancelled:
                continue
            if _is_step(handle):
                self.steps += 1
                if self._hook is not None:
                    self._hook(self.steps)
            handle._run()

    def _shuffle(self) -> None:
        if self._random is not None:
            # asyncio promises the order of callbacks, but code must not rely on the order in which tasks take steps.
            places = [place for place, handle in enumerate(self._ready) if _is_step(handle)]
            shuffled = [self._ready[place] for place in places]
            self._random.shuffle(shuffled)
            for place, handle in zip(places, shuffled, strict=True):
                self._ready[place] = handle


def _is_step(handle: asyncio.Handle) -> bool:
    return isinstance(getattr(handle._callback, "__self__", None), asyncio.Task)


def run_asyncio(
    main: Callable[[], Awaitable[None]], hook: Hook | None = None, seed: int | None = None, *, eager: bool = False
) -> list[Any]:
    """Run to the end in virtual time, and list leftovers: unfinished tasks, and errors that were never retrieved."""
    loop = VirtualLoop(hook, seed)
    if eager:
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]  # Python 3.12
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(main())
        left: list[Any] = [task for task in asyncio.all_tasks(loop) if not task.done()]
        loop.run_until_complete(loop.shutdown_asyncgens())
        return left + loop.noise
    finally:
        asyncio.set_event_loop(None)
        loop.close()


class _Steps(trio.abc.Instrument):
    def __init__(self, clock: trio.testing.MockClock, hook: Hook | None) -> None:
        self.steps = 0
        self._clock = clock
        self._hook = hook
        self._time = -1.0
        self._since = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1
        now = self._clock.current_time()
        if now > self._time:
            self._time, self._since = now, self.steps
        if self.steps - self._since > MOST_STEPS_AT_ONE_TIME:
            # An instrument can't raise; the clock can.
            self._clock.current_time = partial(_raise, Livelock())  # type: ignore[method-assign]
        elif self._hook is not None:
            self._hook(self.steps)


def run_trio(main: Callable[[], Awaitable[None]], hook: Hook | None = None, seed: int | None = None) -> list[Any]:
    """Run to the end in virtual time. The list of leftovers is empty: Trio itself leaves none."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    clock._autojump = partial(_jump, clock)  # type: ignore[method-assign]
    trio_internals._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    trio_internals._r.seed(0 if seed is None else seed)
    try:
        trio.run(main, clock=clock, instruments=[_Steps(clock, hook)])
    except trio.TrioInternalError as error:
        if isinstance(error.__cause__, (Deadlock, Livelock)):
            raise error.__cause__ from None
        raise
    return []


def _jump(clock: trio.testing.MockClock) -> None:
    ahead = trio.lowlevel.current_statistics().seconds_to_next_deadline
    if ahead == math.inf:
        raise Deadlock
    if clock.current_time() + ahead > LATEST:
        raise Livelock
    if ahead > 0:
        clock.jump(ahead)


def _raise(error: BaseException) -> float:
    raise error


def run(backend: str, main: Callable[[], Awaitable[None]], seed: int | None = None) -> None:
    """Run to the end in virtual time, and assert that nothing is left behind."""
    left = run_trio(main, seed=seed) if backend == "trio" else run_asyncio(main, seed=seed)
    assert not left
