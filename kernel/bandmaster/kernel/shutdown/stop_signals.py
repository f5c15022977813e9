"""Signals of the process: heard at any time, handed on where the server is somebody else's."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from types import FrameType

import sniffio

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

Wake = Callable[[Callable[[], object]], None]
"""Has an event loop call a function soon; for signal handlers and other threads."""

Heard = Callable[[signal.Signals, Callable[[], None]], bool]
"""Takes the signal, and a function that hands it on; answers whether it will call that function itself, later."""


class Move(Enum):
    """What a stop signal means."""

    STOP = "stop"
    """Roll the start back; while serving, drain and stop."""
    HURRY = "hurry"
    """Skip what is left of the drain."""
    LEAVE = "leave"
    """End the process at once."""


ECHO = 0.1
"""Seconds within which a signal that comes again is the same request.

timeout(1) signals its child and then the whole group; so does whoever forwards a Ctrl-C that the terminal has sent to all.
"""


class Requests:
    """The stop signals that have come, echoes left out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.numbers: tuple[signal.Signals, ...] = ()
        self._clock = clock
        self._last = -math.inf

    def hear(self, number: signal.Signals) -> Move | None:
        """Take notice of one; what it means, or none for an echo."""
        now = self._clock()
        echo = now - self._last < ECHO
        self._last = now
        if echo:
            return None
        self.numbers += (number,)
        return decide(len(self.numbers))


def decide(count: int) -> Move:
    """What the last of ``count`` stop signals means."""
    if count >= 3:
        return Move.LEAVE
    return Move.STOP if count <= 1 else Move.HURRY


def waker() -> Wake:
    """A way into the event loop that runs now: asyncio's, uvloop or trio's."""
    if sniffio.current_async_library() == "trio":
        import trio

        token = trio.lowlevel.current_trio_token()
        return lambda function: token.run_sync_soon(function)
    import asyncio

    loop = asyncio.get_running_loop()

    def wake(function: Callable[[], object]) -> None:
        loop.call_soon_threadsafe(function)

    return wake


@contextmanager
def owned(heard: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Hear SIGTERM and SIGINT in place of whoever heard them before.

    ``heard`` runs between two bytecodes of the main thread, also while the event loop is blocked, so it must only
    take notice.

    Raises:
        ValueError: this isn't the main thread, which alone may do so.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        heard(signal.Signals(number))

    before = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            # A handler that isn't Python's (None) can't be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def is_handled(number: signal.Signals) -> bool:
    """Whether somebody in this process has said what that signal does, in Python."""
    handler = signal.getsignal(number)
    return callable(handler) and handler is not signal.default_int_handler


@contextmanager
def chained(heard: Heard) -> Iterator[frozenset[signal.Signals]]:
    """Hear SIGTERM and SIGINT before the handlers that are installed now; the answer is which of the two.

    It is those that somebody handles, in the main thread, and none unless SIGTERM is among them: asyncio itself handles
    Ctrl-C, servers handle both. ``heard`` runs between two bytecodes of whatever runs there, so it must only take notice.
    """
    if threading.current_thread() is not threading.main_thread() or not is_handled(signal.SIGTERM):
        yield frozenset()
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS if is_handled(number)}

    def handle(number: int, frame: FrameType | None) -> None:
        def hand_on() -> None:
            handler = before[signal.Signals(number)]
            assert callable(handler)
            handler(number, frame)

        if not heard(signal.Signals(number), hand_on):
            hand_on()

    for number in before:
        signal.signal(number, handle)
    try:
        yield frozenset(before)
    finally:
        for number, handler in before.items():
            # Somebody may have put a handler of theirs over ours meanwhile; then it is theirs to keep.
            if signal.getsignal(number) is handle:
                signal.signal(number, handler)
