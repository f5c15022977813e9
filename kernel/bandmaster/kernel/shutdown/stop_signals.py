"""Receive SIGTERM and SIGINT, in place of other handlers or before them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import sniffio

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

Wake = Callable[[Callable[[], object]], None]
"""Schedules a function in an event loop, from a signal handler or another thread."""

ReceiveFirst = Callable[[signal.Signals, Callable[[], None]], bool]
"""Takes a signal, and a function that passes the signal on to the earlier handler; returns True to call that function
later, False to have it called at once."""


def make_waker() -> Wake:
    """Return a function that schedules calls in the event loop that runs now: asyncio's, uvloop or trio's."""
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
def replace_handlers(receive: Callable[[signal.Signals], object]) -> Iterator[None]:
    """Receive SIGTERM and SIGINT in place of the present handlers, which are restored at the end.

    ``receive`` runs between two bytecodes of the main thread, also while the event loop is blocked, so it must be short
    and must not wait for a lock.

    Raises:
        ValueError: this isn't the main thread, the only one that may install signal handlers.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        receive(signal.Signals(number))

    before = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None stands for a handler that Python didn't install and so can't restore.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def is_handled(number: signal.Signals) -> bool:
    """Whether Python code of this process has installed a handler for that signal."""
    handler = signal.getsignal(number)
    # Every Python process has default_int_handler; only a server or another library replaces it.
    return callable(handler) and handler is not signal.default_int_handler


@contextmanager
def precede_handlers(receive: ReceiveFirst) -> Iterator[frozenset[signal.Signals]]:
    """Receive SIGTERM and SIGINT before the present handlers, and yield the set of signals received so.

    The set holds the signals that have a handler. The set is empty outside the main thread, and also where only SIGINT
    has a handler: a server handles both, while asyncio's own runner handles Ctrl-C without any server. ``receive`` runs
    between two bytecodes of the main thread, so it must be short and must not wait for a lock.
    """
    if threading.current_thread() is not threading.main_thread() or not is_handled(signal.SIGTERM):
        yield frozenset()
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS if is_handled(number)}

    def handle(number: int, frame: FrameType | None) -> None:
        def pass_on() -> None:
            handler = before[signal.Signals(number)]
            assert callable(handler)
            handler(number, frame)

        if not receive(signal.Signals(number), pass_on):
            pass_on()

    for number in before:
        signal.signal(number, handle)
    try:
        yield frozenset(before)
    finally:
        for number, handler in before.items():
            # A handler that was installed over ours meanwhile stays: its owner restores or keeps it.
            if signal.getsignal(number) is handle:
                signal.signal(number, handler)
