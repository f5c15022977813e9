"""A thread that ends the process when asking nicely has taken too long."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import FrameType, TracebackType
from typing import Any, Self

from bandmaster.kernel import events
from bandmaster.kernel.errors import DeadlineExceeded
from bandmaster.kernel.events import Event
from bandmaster.kernel.reports import FAILED, trace
from bandmaster.kernel.shutdown.stop_signals import Wake
from bandmaster.kernel.text import duration, listed, masked


@dataclass(frozen=True, slots=True)
class Facts:
    """What the watchdog knows. Times are of its own clock, in seconds."""

    grace: float
    """How long after it was asked to stop the process may live."""
    abandon_after: float
    """How long nothing at all may happen: in an event loop that is to cancel a start, or once all is over."""
    asked: float | None = None
    """When the stop was asked for."""
    signal: int | None = None
    """The signal that asked for it."""
    hurried: int | None = None
    """The second signal."""
    starting: bool = True
    """Whether nothing has been done yet about a start that is to be cancelled."""
    progress: float = 0.0
    """When the event loop last did anything."""
    abandoned: tuple[str, ...] = ()
    """Components that ignore their cancellation, once nothing else is left."""
    finished: tuple[float, int] | None = None
    """When the run was over, and with which exit code."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why and with which exit code the process ends."""

    code: int
    reason: str


def deadlines(facts: Facts) -> list[tuple[float, Verdict]]:
    """When the process will be ended, for each reason there is."""
    failed = FAILED if facts.hurried is None else 128 + facts.hurried
    found = []
    if facts.abandoned:
        reason = f"only {listed(facts.abandoned)} left, which ignored the cancellation"
        found.append((0.0, Verdict(failed, reason)))
    if facts.finished is not None:
        at, code = facts.finished
        reason = "everything has been stopped, but a task or a thread holds the process"
        found.append((at + facts.abandon_after, Verdict(code, reason)))
    if facts.asked is None:
        return found
    if facts.signal is not None and facts.starting:
        blocked = duration(facts.abandon_after)
        reason = f"asked to stop while starting, but the event loop has been blocked for {blocked}"
        at = max(facts.asked, facts.progress) + facts.abandon_after
        found.append((at, Verdict(128 + facts.signal, reason)))
    # A little early, or the platform's SIGKILL would come before a word of explanation.
    at = facts.asked + facts.grace - min(0.5, facts.grace / 20)
    found.append((at, Verdict(failed, f"the grace of {duration(facts.grace)} for the stop is over")))
    return found


class Witness:
    """Listens to a kernel, and knows which components aren't over yet and what has gone wrong."""

    def __init__(self) -> None:
        self.faults: list[tuple[str, str, BaseException | None]] = []
        """Component, phase and error of each failure, in the order in which they happened."""
        self._left: dict[str, str] = {}
        self._where: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        """Take notice of one event."""
        match event:
            case events.KernelStarting():
                self.faults.clear()
                self._left.clear()
                self._where.clear()
            case events.ComponentStarting(component=name):
                self._left[name] = "starting"
            case events.ComponentStarted(component=name):
                self._left[name] = "started"
            case events.ComponentStopping(component=name):
                self._left[name] = "stopping"
            case events.ComponentOverdue(component=name, phase=phase, seconds=seconds, where=where):
                self._where[name] = where
                error = DeadlineExceeded(
                    f"didn't {phase} within {duration(seconds)}",
                    component=name,
                    phase=phase,
                    seconds=seconds,
                    where=where,
                )
                self.faults.append((name, phase, error))
            case events.ComponentStartFailed(component=name, error=error):
                self._over(name, "start", error)
            case events.ComponentStopFailed(component=name, error=error):
                self._over(name, "stop", error)
            case events.ComponentCrashed(component=name):
                self.faults.append((name, "serving", None))
            case events.ComponentStopped(component=name) | events.ComponentStartCancelled(component=name):
                self._left.pop(name, None)
            case _:
                pass

    def _over(self, name: str, phase: str, error: BaseException) -> None:
        self._left.pop(name, None)
        self.faults.append((name, phase, error))

    def story(self) -> str:
        """What has gone wrong, the cause first; then the components that aren't over, and where they stood."""
        doing = {"start": "starting", "serving": "serving", "stop": "stopping"}
        parts = [
            f"{name!r} failed while {doing[phase]}" + (f":\n{trace(error)}" if error is not None else "")
            for name, phase, error in list(self.faults)
        ]
        for name, now in list(self._left.items()):
            where = self._where.get(name)
            parts.append(f"{name!r} is left, {now}" + (f"; it stood at\n{where}" if where else ""))
        return "\n".join(parts)


class Watchdog:
    """Ends the process when it is overdue, from a thread of its own: also when the event loop is blocked.

    ``describe`` says what is left, for the message; ``exit_process`` ends the process. It may be told things from
    signal handlers.
    """

    def __init__(
        self,
        *,
        grace: float,
        abandon_after: float,
        describe: Callable[[], str] = str,
        exit_process: Callable[[int], object] = os._exit,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[str], object] | None = None,
    ) -> None:
        self._facts = Facts(grace, abandon_after)
        self._describe = describe
        self._exit = exit_process
        self._clock = clock
        self._write = write if write is not None else _to_stderr
        # Safe in signal handlers, as no lock or event of threading is.
        self._told: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._wake: Wake | None = None
        self._thread = threading.Thread(target=self._watch, name="bandmaster: watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._told.put(None)
        self._thread.join()

    def stay(self, code: int) -> None:
        """All is over but the interpreter's own end: watch until that has come."""
        self._thread.start()
        self.finished(code)

    def hear(self, wake: Wake) -> None:
        """Measure by this event loop whether anything happens."""
        self._wake = wake

    def asked(self, number: int | None = None) -> None:
        """The stop has been asked for, by a signal or otherwise."""
        self._told.put({"asked": self._clock(), "signal": number})

    def hurried(self, number: int) -> None:
        """A second signal has come."""
        self._told.put({"hurried": number})

    def acted(self) -> None:
        """A start has completed or is being cancelled: it isn't blocked."""
        self._told.put({"starting": False})

    def abandoned(self, components: tuple[str, ...]) -> None:
        """Nothing is left but components that ignore their cancellation."""
        self._told.put({"abandoned": components})

    def finished(self, code: int) -> None:
        """All is over but the event loop's own clean-up."""
        self._told.put({"finished": (self._clock(), code)})

    # -- its own thread ----------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while True:
            now = self._clock()
            due = sorted(deadlines(self._facts), key=lambda deadline: deadline[0])
            if due and due[0][0] <= now:
                self._end(due[0][1])
                return
            try:
                told = self._told.get(timeout=self._pause(due[0][0] - now if due else None))
            except queue.Empty:
                self._ping()
                continue
            if told is None:
                return
            self._facts = _learn(self._facts, told)

    def _pause(self, left: float | None) -> float | None:
        facts = self._facts
        if left is not None and facts.starting and facts.signal is not None:
            return min(left, facts.abandon_after / 4)
        return left

    def _ping(self) -> None:
        if self._wake is not None and self._facts.starting:
            try:
                self._wake(lambda: self._told.put({"progress": self._clock()}))
            except Exception:  # noqa: BLE001  # the loop has been closed meanwhile: trio's own error, or RuntimeError
                self._wake = None

    def _end(self, verdict: Verdict) -> None:
        with suppress(Exception):  # a closed stderr must not keep the process alive
            left = self._describe()
            self._write(
                f"bandmaster: ending the process with exit code {verdict.code}: {verdict.reason}.\n"
                + (f"{left}\n" if left else "")
                + f"{thread_stacks(sys._current_frames())}\n"  # noqa: SLF001  # the only way to see other threads' frames
            )
        self._exit(verdict.code)


def thread_stacks(frames: Mapping[int, FrameType]) -> str:
    """Where every other thread is, as text; source lines, but no values."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    own = threading.get_ident()
    parts = []
    for ident, frame in frames.items():
        if ident != own:
            parts.append(f"Thread {names.get(ident, ident)!r} (most recent call last):\n")
            parts += traceback.format_stack(frame)
    return "".join(parts).rstrip()


def _learn(facts: Facts, told: Mapping[str, Any]) -> Facts:
    if "asked" in told and facts.asked is not None:
        return facts  # the first one counts
    return replace(facts, **told)


def _to_stderr(text: str) -> None:
    # Not through sys.stderr: whoever holds its lock may be the one who hangs.
    os.write(2, masked(text).encode(errors="backslashreplace"))
