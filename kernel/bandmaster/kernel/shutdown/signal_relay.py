"""Keep signals from an event loop that has handlers of its own for them, until they are passed on."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Collection
from contextlib import suppress

import sniffio


class SignalRelay:
    """Stands between the signals of a process and asyncio's event loop, uvloop included.

    ``loop.add_signal_handler`` has the interpreter write the number of each signal into a socket of the event loop,
    which then calls the server's handler, also after `signal.signal` has installed another. granian has its handlers
    there. The relay has the numbers written into another socket, and passes on those of other signals at once.
    """

    def __init__(self, signals: Collection[int]) -> None:
        self._signals = frozenset(signals)
        self._event_loop_socket = -1
        self._ours: socket.socket | None = None

    def install(self) -> None:
        """Begin, or begin again, unless the event loop that runs now gets no signals in this way."""
        if sniffio.current_async_library() != "asyncio":
            return
        current = signal.set_wakeup_fd(-1)
        if current == -1:
            return
        if self._ours is None:
            import asyncio

            self._loop = asyncio.get_running_loop()
            self._ours, self._written = socket.socketpair()
            for end in (self._ours, self._written):
                end.setblocking(False)
            # The reader also wakes the event loop, so that handlers in Python are called.
            self._loop.add_reader(self._ours, self._read)
        if current != self._written.fileno():
            self._event_loop_socket = current
        signal.set_wakeup_fd(self._written.fileno(), warn_on_full_buffer=False)

    def pass_on(self, number: int) -> None:
        """Let the event loop have a signal."""
        self._write(bytes([number]))

    def remove(self) -> None:
        """Let the event loop have all signals again."""
        if self._ours is None:
            return
        current = signal.set_wakeup_fd(-1)
        # An event loop to which a handler was added meanwhile has put its own socket back.
        signal.set_wakeup_fd(self._event_loop_socket if current == self._written.fileno() else current)
        self._loop.remove_reader(self._ours)
        self._read()
        for end in (self._ours, self._written):
            end.close()
        self._ours = None

    def _read(self) -> None:
        assert self._ours is not None
        with suppress(BlockingIOError):
            self._write(bytes(number for number in self._ours.recv(4096) if number not in self._signals))

    def _write(self, numbers: bytes) -> None:
        if self._ours is not None and numbers:
            with suppress(OSError):  # a full or closed socket: the event loop has been woken, or ends
                os.write(self._event_loop_socket, numbers)
