"""Escalate stop signals: the first stops the run, the second skips the drain, the third ends the process."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from enum import Enum

import anyio

from bandmaster.kernel import events
from bandmaster.kernel.events import Event
from bandmaster.kernel.lifecycle.kernel import Kernel
from bandmaster.kernel.lifecycle.phases import Phase
from bandmaster.kernel.listeners.stop_report import StopReport
from bandmaster.kernel.logs import get_logger
from bandmaster.kernel.shutdown.stop_signals import Wake, make_waker
from bandmaster.kernel.shutdown.watchdog import Watchdog

ECHO = 0.1
"""Seconds within which a further signal is an echo of the last one, not another request.

timeout(1) signals its child and then the whole process group; a parent that forwards Ctrl-C does the same, since the
terminal has already sent SIGINT to every process of the group.
"""


class Action(Enum):
    """The consequence of one stop signal."""

    STOP = "stop"
    """Roll the start back; while serving, drain and stop."""
    SKIP_DRAIN = "skip drain"
    """Cut the rest of the drain short."""
    EXIT = "exit"
    """End the process at once."""


@dataclass(frozen=True, slots=True)
class ReceivedSignals:
    """The stop signals received so far."""

    signals: tuple[signal.Signals, ...] = ()
    """In order, without echoes."""
    last_at: float = -math.inf
    """The time of the last signal, echoes included, in seconds."""


def receive_signal(
    received: ReceivedSignals, number: signal.Signals, now: float
) -> tuple[ReceivedSignals, Action | None]:
    """Add a signal, and return the consequence, None for an echo."""
    if now - received.last_at < ECHO:
        return replace(received, last_at=now), None
    signals = (*received.signals, number)
    return ReceivedSignals(signals, now), choose_action(len(signals))


def choose_action(count: int) -> Action:
    """Return the consequence of the last of ``count`` stop signals."""
    if count >= 3:
        return Action.EXIT
    return Action.STOP if count <= 1 else Action.SKIP_DRAIN


class Escalation:
    """Acts on the stop signals of one run of a kernel, and reports the progress of the stop to the watchdog.

    The launcher and the lifespan under a foreign server both use this class, so that a signal means the same under
    either. A signal handler calls `receive`, which records the signal and wakes the event loop; `attend` acts there.
    """

    def __init__(
        self,
        kernel: Kernel,
        *,
        exit_process: Callable[[int], object] = os._exit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stopped_while_starting = False
        """Whether the first signal came while a start was under way."""
        self._kernel = kernel
        self._exit = exit_process
        self._clock = clock
        self._received = ReceivedSignals()
        self._starting = True
        self._blocked = False
        """Whether the event loop was blocked past a deadline when last looked at."""
        self._wake: Wake | None = None
        self._report = StopReport()
        self._watchdog = Watchdog(
            grace=kernel.settings.termination_grace,
            abandon_after=kernel.settings.abandon_after,
            describe=self._report.render,
            exit_process=exit_process,
        )

    @property
    def signals(self) -> tuple[signal.Signals, ...]:
        """The stop signals received so far, without echoes."""
        return self._received.signals

    @property
    def is_stopping(self) -> bool:
        """Whether a stop has been requested, by a signal or otherwise, and the event loop knows."""
        return self._kernel.phase not in (Phase.NEW, Phase.STARTING, Phase.READY)

    @property
    def skips_drain(self) -> bool:
        """Whether a second signal has been acted on."""
        return self._skip_drain.is_set()

    @contextmanager
    def watching(self, *, may_end_process: bool = True) -> Iterator[None]:
        """Listen to the kernel during one run, with the watchdog unless the process isn't ours to end."""
        watchdog = self._watchdog if may_end_process else nullcontext()
        self._kernel.report_blocked_to(self._report_blocked)
        try:
            with watchdog, self._kernel.listening(self._report, self._handle_event):
                yield
        finally:
            self._kernel.report_blocked_to(None)

    def receive(self, number: signal.Signals) -> Action | None:
        """Record a signal and return the consequence, None for an echo. Safe in a signal handler.

        A third signal ends the process here, since the event loop may be blocked.
        """
        self._received, action = receive_signal(self._received, number, self._clock())
        if action is None:
            return None
        if action is Action.EXIT:
            with suppress(OSError):  # whoever reads stderr may be gone, as a closed terminal is
                os.write(2, f"bandmaster: {number.name} for the third time: leaving at once\n".encode())
            self._exit(128 + number)
            return action
        if action is Action.STOP:
            self.stopped_while_starting = self._starting
            self._watchdog.note_stop_request(number)
        else:
            self._watchdog.note_second_signal(number)
        if self._wake is not None:
            self._wake(lambda: self._woken.set())
        return action

    def enter_event_loop(self) -> None:
        """Let signals wake the event loop that runs now."""
        self._skip_drain = anyio.Event()
        self._woken = anyio.Event()
        self._wake = make_waker()
        self._watchdog.watch_event_loop()

    def leave_event_loop(self, exit_code: int) -> None:
        """Stop waking the event loop, which now only waits for leftover tasks and threads."""
        self._wake = None
        self._watchdog.note_run_finished(exit_code)

    async def attend(self) -> None:
        """Act on signals until cancelled."""
        self._act()  # a signal may have come before there was an event loop to wake
        while True:
            await self._woken.wait()
            self._woken = anyio.Event()
            self._act()

    async def run_until_skipped(self, work: Callable[[], Awaitable[object]]) -> None:
        """Await ``work()``, which a second signal cancels."""
        async with anyio.create_task_group() as tasks:

            async def cancel_when_skipped() -> None:
                await self._skip_drain.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(cancel_when_skipped)
            await work()
            tasks.cancel_scope.cancel()

    def _act(self) -> None:
        """Apply the signals received so far. Idempotent, so that any event may call it."""
        if self.signals:
            self._watchdog.note_start_resolved()
            self._kernel.request_stop(self.signals[0].name)
        if len(self.signals) > 1 and not self._skip_drain.is_set():
            if not self.stopped_while_starting:  # a start is rolled back without a drain
                reason = f"second {self.signals[1].name}"
                get_logger("bandmaster.kernel").warning("the drain is cut short", reason=reason)
            self._skip_drain.set()

    def _report_blocked(self, component: str) -> None:
        self._blocked = True
        self._watchdog.note_blocked(component)

    def _handle_event(self, event: Event) -> None:
        if self._blocked:
            self._blocked = False
            self._watchdog.note_unblocked()
        match event:
            case events.KernelStarting() | events.ComponentStarted():
                # A signal may have come before there was a run to stop, or while this start blocked the event loop.
                self._act()
            case events.Ready():
                self._starting = False
                self._watchdog.note_start_resolved()
            case events.KernelStopping():
                self._starting = False
                self._watchdog.note_stop_request()
            case events.OnlyAbandonedLeft(components=components):
                self._watchdog.note_only_abandoned_left(components)
            case _:
                pass
