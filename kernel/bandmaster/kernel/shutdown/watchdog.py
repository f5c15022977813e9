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

from bandmaster.kernel.redaction.masking import masked
from bandmaster.kernel.reports import FAILED
from bandmaster.kernel.text import list_names, render_duration
from bandmaster.kernel.tracebacks import find_blocking_line


@dataclass(frozen=True, slots=True)
class WatchdogState:
    """The watchdog's knowledge of a run. Times are of the watchdog's own clock, in seconds."""

    grace: float
    """Seconds from the request to stop until the end of the process."""
    abandon_after: float
    """Seconds in which the interpreter has to end after a run."""
    stop_requested_at: float | None = None
    stop_signal: int | None = None
    """The signal that requested the stop, if a signal did."""
    second_signal: int | None = None
    start_pending: bool = True
    """Whether the start has neither completed nor been cancelled."""
    blocked: tuple[float, str] | None = None
    """Since when the event loop has been blocked past the deadline of a component, with the component's name."""
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
    # A little early: at the end of the grace the platform sends SIGKILL, and the explanation would be lost.
    grace = state.grace - min(0.5, state.grace / 20)
    failed = FAILED if state.second_signal is None else 128 + state.second_signal
    found = []
    if state.only_abandoned_left:
        reason = f"only {list_names(state.only_abandoned_left)} left, which ignored the cancellation"
        found.append(Termination(0.0, failed, reason))
    if state.finished is not None:
        at, code = state.finished
        reason = "everything has been stopped, but a task or a thread holds the process"
        found.append(Termination(at + state.abandon_after, code, reason))
    if state.blocked is not None and state.stop_requested_at is None:
        # Nobody has asked for a stop, and the event loop can't: without an end the process would stand there for ever.
        at, component = state.blocked
        reason = f"the event loop has been blocked for {render_duration(grace)} past the deadline of {component!r}"
        found.append(Termination(at + grace, FAILED, reason))
    if state.stop_requested_at is not None:
        reason = f"the grace of {render_duration(state.grace)} for the stop is over"
        if state.start_pending and state.stop_signal is not None and state.second_signal is None:
            failed = 128 + state.stop_signal
        found.append(Termination(state.stop_requested_at + grace, failed, reason))
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
        self._event_loop_thread: int | None = None
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

    def watch_event_loop(self) -> None:
        """Name the code that blocks the event loop of this thread when the process has to be ended."""
        self._event_loop_thread = threading.get_ident()

    def note_stop_request(self, number: int | None = None) -> None:
        """The stop was requested, by that signal or otherwise. The first request counts."""
        self._updates.put({"stop_requested_at": self._clock(), "stop_signal": number})

    def note_second_signal(self, number: int) -> None:
        """A second signal has come."""
        self._updates.put({"second_signal": number})

    def note_start_resolved(self) -> None:
        """The start has completed, or is being cancelled: the event loop isn't blocked."""
        self._updates.put({"start_pending": False})

    def note_blocked(self, component: str) -> None:
        """The event loop is blocked past the deadline of a component."""
        self._updates.put({"blocked": (self._clock(), component)})

    def note_unblocked(self) -> None:
        """The event loop runs again."""
        self._updates.put({"blocked": None})

    def note_only_abandoned_left(self, components: tuple[str, ...]) -> None:
        """Only components that ignore their cancellation are unfinished."""
        self._updates.put({"only_abandoned_left": components})

    def note_run_finished(self, code: int) -> None:
        """The run has ended; only the event loop and the interpreter still have to."""
        self._updates.put({"finished": (self._clock(), code)})

    def _watch(self) -> None:
        while True:
            next_one = min(list_terminations(self._state), key=lambda each: each.at, default=None)
            pause = None if next_one is None else max(0.0, next_one.at - self._clock())
            try:
                update = self._updates.get(timeout=pause)
            except queue.Empty:
                assert next_one is not None
                self._end(next_one)
                return
            if update is None:
                return
            self._state = _apply_update(self._state, update)

    def _end(self, termination: Termination) -> None:
        with suppress(Exception):  # a closed stderr must not keep the process alive
            unfinished = self._describe()
            # sys._current_frames is the only way to see the frames of other threads.
            frames = sys._current_frames()  # noqa: SLF001
            text = f"bandmaster: ending the process with exit code {termination.exit_code}: {termination.reason}.\n"
            frame = frames.get(self._event_loop_thread) if self._event_loop_thread is not None else None
            if frame is not None and (place := find_blocking_line(frame)):
                text += f"The event loop is blocked at\n{place}\n"
            text += f"{unfinished}\n" if unfinished else ""
            text += f"{render_thread_stacks(frames)}\n"
            self._write(masked(text))
        self._exit(termination.exit_code)


def render_thread_stacks(frames: Mapping[int, FrameType]) -> str:
    """Render the stack of every thread but the kernel's own.

    Stacks have source lines, but no values of variables, which may be secrets.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = []
    for ident, frame in frames.items():
        if not names.get(ident, "").startswith("bandmaster: "):
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
