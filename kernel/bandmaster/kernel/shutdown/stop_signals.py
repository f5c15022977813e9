"""Receive the signals that stop a process, in place of other handlers or before them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import sniffio

from bandmaster.kernel.shutdown.signal_relay import SignalRelay

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT") if hasattr(signal, name)
)
"""The signals that stop a process in order. Windows has neither SIGHUP nor SIGQUIT."""
_SERVER_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""Those that every server handles."""

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


class SignalHandler:
    """A handler that records a signal, behind which libraries find whether the process is to stop.

    sse-starlette and others look for uvicorn's server behind the handler of SIGTERM, a method of that server, and end
    their streams once ``should_exit`` is true. So the handler is a method here, too, and this class has the attribute.
    """

    def __init__(
        self, receive: Callable[[int, FrameType | None], object], is_stopping: Callable[[], bool] = bool
    ) -> None:
        self._receive = receive
        self._is_stopping = is_stopping
        # One object, since each access of a method makes another.
        self.installed = self._handle

    @property
    def should_exit(self) -> bool:
        """Whether the process is to stop."""
        return self._is_stopping()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._receive(number, frame)


@contextmanager
def replace_handlers(
    receive: Callable[[signal.Signals], object], is_stopping: Callable[[], bool] = bool
) -> Iterator[None]:
    """Receive the stop signals in place of the present handlers, which are restored at the end.

    SIGHUP and SIGQUIT keep a handler of other code, such as one that reopens log files, and stay ignored where they
    are, as under nohup. ``receive`` runs between two bytecodes of the main
    thread, also while the event loop is blocked, so it must be short and must not wait for a lock. ``is_stopping`` says
    whether the process is to stop; see `SignalHandler`.

    Raises:
        ValueError: this isn't the main thread, the only one that may install signal handlers.
    """
    handler = SignalHandler(lambda number, _frame: receive(signal.Signals(number)), is_stopping)
    before = {
        number: signal.signal(number, handler.installed)
        for number in STOP_SIGNALS
        if number in _SERVER_SIGNALS or signal.getsignal(number) is signal.SIG_DFL
    }
    try:
        yield
    finally:
        for number, earlier in before.items():
            # None stands for a handler that Python didn't install and so can't restore.
            signal.signal(number, signal.SIG_DFL if earlier is None else earlier)


def is_handled(number: signal.Signals) -> bool:
    """Whether Python code of this process has installed a handler for that signal."""
    handler = signal.getsignal(number)
    # Every Python process has default_int_handler; only a server or another library replaces it.
    return callable(handler) and handler is not signal.default_int_handler


@contextmanager
def precede_handlers(
    receive: ReceiveFirst, is_stopping: Callable[[], bool] = bool, relay: SignalRelay | None = None
) -> Iterator[frozenset[signal.Signals]]:
    """Receive the stop signals before the present handlers, and yield the set of signals received so.

    The set is empty outside the main thread, and where SIGTERM has no handler: a server has one, while asyncio's own
    runner handles Ctrl-C without any server. SIGHUP and SIGQUIT are received where they would end the process without
    any clean-up, and are passed on as SIGTERM. ``receive`` runs between two bytecodes of the main
    thread, so it must be short and must not wait for a lock. ``is_stopping``: see `SignalHandler`. A ``relay`` gets the
    signals that are passed on, and is removed at the end.
    """
    if threading.current_thread() is not threading.main_thread() or not is_handled(signal.SIGTERM):
        yield frozenset()
        return
    preceding = _PrecedingHandler(receive, is_stopping, relay or SignalRelay(STOP_SIGNALS))
    try:
        yield frozenset(preceding.earlier)
    finally:
        preceding.remove()


class _PrecedingHandler:
    """The handler that is called before those of a server."""

    def __init__(self, receive: ReceiveFirst, is_stopping: Callable[[], bool], relay: SignalRelay) -> None:
        self._receive_first = receive
        self._relay = relay
        self._relayed = False
        """Whether the next SIGTERM is this process's own, in place of another signal."""
        self.earlier = {
            number: signal.getsignal(number)
            for number in STOP_SIGNALS
            if (is_handled(number) if number in _SERVER_SIGNALS else signal.getsignal(number) is signal.SIG_DFL)
        }
        """The handlers of before, by signal."""
        self._handler = SignalHandler(self._receive, is_stopping)
        for number in self.earlier:
            signal.signal(number, self._handler.installed)

    def remove(self) -> None:
        """Restore the handlers of before."""
        for number, earlier in self.earlier.items():
            # A handler that was installed over ours meanwhile stays: its owner restores or keeps it.
            if signal.getsignal(number) is self._handler.installed:
                signal.signal(number, earlier)
        self._relay.remove()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        def pass_on() -> None:
            earlier = self.earlier[signal.Signals(number)]
            if callable(earlier):
                earlier(number, frame)
                self._relay.pass_on(number)
            else:
                self._relayed = True
                signal.raise_signal(signal.SIGTERM)

        if self._relayed and number == signal.SIGTERM:
            self._relayed = False
            pass_on()
        elif not self._receive_first(signal.Signals(number), pass_on):
            pass_on()
