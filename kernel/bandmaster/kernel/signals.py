"""Signals of a process whose server is somebody else's: heard first, then handed on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

Heard = Callable[[signal.Signals, Callable[[], None]], bool]
"""Takes the signal, and a function that hands it on; answers whether it will call that function itself, later."""


@contextmanager
def chained(heard: Heard) -> Iterator[bool]:
    """Hear SIGTERM and SIGINT before the handlers that are installed now; answers whether that is possible.

    It is in the main thread only. ``heard`` runs between two bytecodes of whatever runs there, so it must only take
    notice.
    """
    if threading.current_thread() is not threading.main_thread():
        yield False
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}

    def handle(number: int, frame: FrameType | None) -> None:
        def hand_on() -> None:
            handler = before[signal.Signals(number)]
            if callable(handler):
                handler(number, frame)
            elif handler is signal.SIG_DFL:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)

        if not heard(signal.Signals(number), hand_on):
            hand_on()

    # A handler that isn't Python's (None) couldn't be called, nor put back.
    ours = [number for number in STOP_SIGNALS if before[number] is not None]
    for number in ours:
        signal.signal(number, handle)
    try:
        yield True
    finally:
        for number in ours:
            # Somebody may have put a handler of theirs over ours meanwhile; then it is theirs to keep.
            if signal.getsignal(number) is handle:
                signal.signal(number, before[number])
