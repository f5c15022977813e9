"""End an overdue process, also while the event loop is blocked."""

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

from bandmaster.kernel.reports import FAILED
from bandmaster.kernel.shutdown.stop_signals import Wake
from bandmaster.kernel.text import list_names, masked, render_duration


@dataclass(frozen=True, slots=True)
class WatchdogState:
    """The watchdog's knowledge of a run. Times are of the watchdog's own clock, in seconds."""

    grace: float
    """Seconds from the request to stop until the end of the process."""
    abandon_after: float
    """Seconds in which an event loop has to cancel a start, and the interpreter to end after a run."""
    stop_requested_at: float | None = None
    stop_signal: int | None = None
    """The signal that requested the stop, if a signal did."""
    second_signal: int | None = None
    start_pending: bool = True
    """Whether the start has neither completed nor been cancelled."""
    loop_answered_at: float = 0.0
    """The last time at which the event loop ran a function of the watchdog."""
    only_abandoned_left: tuple[str, ...] = ()
    """Components that ignore their cancellation, once no other component is unfinished."""
    finished: tuple[float, int] | None = None
    """The time at which the run ended, with the exit code."""


@dataclass(frozen=True, slots=True)
class Termination:
    """The end of the process: when, with which exit code, and why."""

    at: float
    exit_code: int
    reason: str


def list_terminations(state: WatchdogState) -> list[Termination]:
    """List every reason to end the process, each with a time; the earliest counts."""
    failed = FAILED if state.second_signal is None else 128 + state.second_signal
    found = []
    if state.only_abandoned_left:
        reason = f"only {list_names(state.only_abandoned_left)} left, which ignored the cancellation"
        found.append(Termination(0.0, failed, reason))
    if state.finished is not None:
        at, code = state.finished
        reason = "everything has been stopped, but a task or a thread holds the process"
        found.append(Termination(at + state.abandon_after, code, reason))
    if state.stop_requested_at is None:
        return found
    if state.stop_signal is not None and state.start_pending:
        blocked = render_duration(state.abandon_after)
        reason = f"asked to stop while starting, but the event loop has been blocked for {blocked}"
        at = max(state.stop_requested_at, state.loop_answered_at) + state.abandon_after
        found.append(Termination(at, 128 + state.stop_signal, reason))
    # A little early: at the end of the grace the platform sends SIGKILL, and the explanation would be lost.
    at = state.stop_requested_at + state.grace - min(0.5, state.grace / 20)
    found.append(Termination(at, failed, f"the grace of {render_duration(state.grace)} for the stop is over"))
    return found


class Watchdog:
    """Ends the process when the stop is overdue, from a separate thread: also while the event loop is blocked.

    ``describe`` renders the unfinished work for the message; ``exit_process`` ends the process. The ``note_`` methods
    report the progress of a run, and are safe in signal handlers.
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
        self._state = WatchdogState(grace, abandon_after)
        self._describe = describe
        self._exit = exit_process
        self._clock = clock
        self._write = write if write is not None else _write_to_stderr
        # A signal handler may interrupt the code that holds a lock of threading; SimpleQueue.put is reentrant.
        self._updates: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._wake: Wake | None = None
        self._thread = threading.Thread(target=self._watch, name="bandmaster: watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._updates.put(None)
        self._thread.join()

    def watch_exit(self, code: int) -> None:
        """Watch the interpreter's own end, after a run that ended with this exit code."""
        self._thread.start()
        self.note_run_finished(code)

    def watch_event_loop(self, wake: Wake) -> None:
        """Find out through ``wake`` whether the event loop is blocked while a start should be cancelled."""
        self._wake = wake

    def note_stop_request(self, number: int | None = None) -> None:
        """The stop was requested, by that signal or otherwise. The first request counts."""
        self._updates.put({"stop_requested_at": self._clock(), "stop_signal": number})

    def note_second_signal(self, number: int) -> None:
        """A second signal has come."""
        self._updates.put({"second_signal": number})

    def note_start_resolved(self) -> None:
        """The start has completed, or is being cancelled: the event loop isn't blocked."""
        self._updates.put({"start_pending": False})

    def note_only_abandoned_left(self, components: tuple[str, ...]) -> None:
        """Only components that ignore their cancellation are unfinished."""
        self._updates.put({"only_abandoned_left": components})

    def note_run_finished(self, code: int) -> None:
        """The run has ended; only the event loop and the interpreter still have to."""
        self._updates.put({"finished": (self._clock(), code)})

    def _watch(self) -> None:
        while True:
            now = self._clock()
            next_one = min(list_terminations(self._state), key=lambda each: each.at, default=None)
            if next_one is not None and next_one.at <= now:
                self._end(next_one)
                return
            try:
                update = self._updates.get(timeout=self._choose_pause(None if next_one is None else next_one.at - now))
            except queue.Empty:
                self._ping_event_loop()
                continue
            if update is None:
                return
            self._state = _apply_update(self._state, update)

    def _choose_pause(self, seconds_left: float | None) -> float | None:
        state = self._state
        if seconds_left is not None and state.start_pending and state.stop_signal is not None:
            return min(seconds_left, state.abandon_after / 4)
        return seconds_left

    def _ping_event_loop(self) -> None:
        if self._wake is not None and self._state.start_pending:
            try:
                self._wake(lambda: self._updates.put({"loop_answered_at": self._clock()}))
            except Exception:  # noqa: BLE001  # the loop has been closed: trio's own error, or RuntimeError
                self._wake = None

    def _end(self, termination: Termination) -> None:
        with suppress(Exception):  # a closed stderr must not keep the process alive
            unfinished = self._describe()
            text = f"bandmaster: ending the process with exit code {termination.exit_code}: {termination.reason}.\n"
            text += f"{unfinished}\n" if unfinished else ""
            # sys._current_frames is the only way to see the frames of other threads.
            text += f"{render_thread_stacks(sys._current_frames())}\n"  # noqa: SLF001
            self._write(masked(text))
        self._exit(termination.exit_code)


def render_thread_stacks(frames: Mapping[int, FrameType]) -> str:
    """Render the stack of every other thread; source lines, but no values of variables, which may be secrets."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    own = threading.get_ident()
    parts = []
    for ident, frame in frames.items():
        if ident != own:
            parts.append(f"Thread {names.get(ident, ident)!r} (most recent call last):\n")
            parts += traceback.format_stack(frame)
    return "".join(parts).rstrip()


def _apply_update(state: WatchdogState, update: Mapping[str, Any]) -> WatchdogState:
    if "stop_requested_at" in update and state.stop_requested_at is not None:
        return state
    return replace(state, **update)


def _write_to_stderr(text: str) -> None:
    # Not through sys.stderr: the thread that hangs may hold its lock.
    os.write(2, text.encode(errors="backslashreplace"))
