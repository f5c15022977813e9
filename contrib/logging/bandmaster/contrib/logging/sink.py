"""Write lines to a stream in a thread of its own, through a bounded buffer that no caller waits for."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Protocol

_BATCH = 64 * 1024
"""Bytes that are taken from the buffer at once."""
_COLLECT = 0.001
"""Seconds for which lines are collected before they are written."""
_POLL = 0.05
"""Seconds between two looks at whether the stop has given up waiting."""


class LineWriter(Protocol):
    """Writes whole lines to a stream."""

    def write(self, lines: list[bytes], is_abandoned: Callable[[], bool]) -> int:
        """Write lines, and return the number of those that were written.

        Fewer than all were written if ``is_abandoned`` became true while the stream took nothing.

        Raises:
            OSError: the stream refuses the lines.
            ValueError: the stream is closed.
        """
        ...

    def close(self) -> None:
        """Close everything that the writer has opened."""
        ...


class BoundedSink:
    """Takes lines without waiting, and writes them in the order in which they came.

    When the reader of the stream is too slow, lines wait in a buffer of ``capacity`` bytes. Lines for which the buffer
    has no room are dropped and counted; the last quarter of the buffer is kept for urgent lines. When the reader has
    caught up, one line, which ``render_loss`` makes of the number, tells how many were dropped.

    The thread starts with the first line, also in a process that was forked from this one, and ends with `close`.
    """

    def __init__(self, writer: LineWriter, capacity: int, render_loss: Callable[[int], bytes]) -> None:
        self.dropped = 0
        """Number of lines that weren't written."""
        self._writer = writer
        self._capacity = capacity
        self._limit = capacity - capacity // 4
        self._render_loss = render_loss
        self._is_closing = False
        self._is_abandoned = False
        self._begin()
        _SINKS.add(self)

    def _begin(self) -> None:
        """Begin with an empty buffer: at the start, and in a forked process, whose parent writes the lines so far."""
        # Reentrant, since a signal handler may log while the same thread is in here.
        self._lock = threading.RLock()
        self._wake = threading.Semaphore(0)
        self._is_idle = False
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._lost = 0
        self._thread: threading.Thread | None = None

    def write(self, line: bytes, *, urgent: bool = False) -> None:
        """Take a line that ends with a newline. Never waits, and never fails."""
        length = len(line)
        with self._lock:
            if self._size + length > (self._capacity if urgent else self._limit) or self._is_closing:
                self.dropped += 1
                self._lost += 1
                return
            self._size += length
            self._lines.append(line)
            wakes, self._is_idle = self._is_idle, False
            if self._thread is None:
                self._start_thread()
        if wakes:
            self._wake.release()

    @property
    def is_empty(self) -> bool:
        """Whether every line that was taken has been written."""
        return not self._size and not self._lost

    def flush(self, timeout: float) -> bool:
        """Wait until every line has been written, for ``timeout`` seconds at the most. Whether that happened."""
        end = time.monotonic() + timeout
        while not self.is_empty and time.monotonic() < end:
            time.sleep(0.002)
        return self.is_empty

    def close(self) -> None:
        """End the thread. Lines that haven't been written are dropped: call `flush` before."""
        with self._lock:
            self._is_closing = self._is_abandoned = True
            thread = self._thread
        if thread is not None:
            self._wake.release()
            # A reader that takes part of a line and then stops can hold the thread inside a write.
            thread.join(10 * _POLL)
        if thread is None or not thread.is_alive():
            self._writer.close()
        _SINKS.discard(self)

    def _start_thread(self) -> None:
        self._thread = threading.Thread(target=self._write_lines, name="bandmaster-log", daemon=True)
        self._thread.start()

    def _write_lines(self) -> None:
        while not self._is_abandoned:
            lines = self._take_lines()
            if lines:
                self._write_batch(lines)
            elif not self._tell_loss():
                self._wait()

    def _take_lines(self) -> list[bytes]:
        taken: list[bytes] = []
        size = 0
        with self._lock:
            while self._lines and size < _BATCH:
                taken.append(self._lines.popleft())
                size += len(taken[-1])
        return taken

    def _write_batch(self, lines: list[bytes]) -> None:
        written = 0
        try:
            written = self._writer.write(lines, lambda: self._is_abandoned)
        except (OSError, ValueError):
            # Such as a full disk. The next lines may be written again.
            time.sleep(_POLL)
        with self._lock:
            self._size -= sum(map(len, lines))
            self.dropped += len(lines) - written
            self._lost += len(lines) - written

    def _tell_loss(self) -> bool:
        """Write how many lines were dropped. Whether a line was written."""
        with self._lock:
            lost = self._lost
        if not lost:
            return False
        try:
            told = self._writer.write([self._render_loss(lost)], lambda: self._is_abandoned)
        except (OSError, ValueError):
            told = 0
        with self._lock:
            self._lost -= lost if told else 0
        return bool(told)

    def _wait(self) -> None:
        with self._lock:
            if self._lines or self._is_closing:
                return
            self._is_idle = True
        # A loss that couldn't be told is tried again after a while.
        self._wake.acquire(timeout=1.0 if self._lost else None)
        if not self._is_closing:
            # Lines that come soon after the first are written together, which spares most switches between threads.
            time.sleep(_COLLECT)


_SINKS: weakref.WeakSet[BoundedSink] = weakref.WeakSet()
"""The sinks of this process, for which a forked process needs new threads and locks."""


def _begin_in_child() -> None:
    for sink in list(_SINKS):
        sink._begin()  # noqa: SLF001  # the same module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)
