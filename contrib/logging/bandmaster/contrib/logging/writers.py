"""Write whole lines to a file descriptor or a text stream, also where several processes write to the same pipe."""

from __future__ import annotations

import os
import select
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TextIO

from bandmaster.contrib.logging.sink import LineWriter
from bandmaster.contrib.web import find_descriptor

PIPE_BUF: Final = min(select.PIPE_BUF, 4096)
"""Bytes that a pipe takes in one piece, or not at all (POSIX, write)."""
_POLL = 0.05
_ROOM_PAUSE = 0.001
_LOCK_PAUSES = (0.0002, 0.001, 0.005)


def make_writer(stream: TextIO | None, longest: int = 0) -> LineWriter:
    """A writer of lines of ``longest`` bytes: to the descriptor below a stream, where that is plain text over one."""
    descriptor = find_descriptor(stream)
    if descriptor is None or stream is None:
        return TextWriter(stream)
    # A descriptor of its own: the number of a closed one may belong to another file soon.
    return DescriptorWriter(os.dup(descriptor), longest)


class TextWriter:
    """Writes to a text stream without a descriptor, such as a replacement of ``sys.stderr`` in a test."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, lines: list[bytes], is_abandoned: Callable[[], bool]) -> int:
        """Write the lines."""
        if self._stream is not None:
            self._stream.write(b"".join(lines).decode("utf-8", "replace"))
            self._stream.flush()
        return len(lines)

    def close(self) -> None:
        """Do nothing: the stream isn't the writer's."""


class DescriptorWriter:
    """Writes to a descriptor, which it owns, and never waits in a write for a reader.

    Each line is one write. A line of up to `PIPE_BUF` bytes can't be torn by a line of another process, whoever writes
    that. Before a longer line, the writer waits until the pipe has room for the whole line. A lock on the pipe keeps
    out the lines of other processes with this class meanwhile.
    """

    def __init__(self, descriptor: int, longest: int = 0) -> None:
        self._descriptor = descriptor
        mode = os.fstat(descriptor).st_mode
        # A device that isn't a terminal, such as /dev/null, takes everything at once as well.
        self._is_file = stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not os.isatty(descriptor))
        self._room = _PipeRoom.find(descriptor, longest) if stat.S_ISFIFO(mode) else None
        self._locks = (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)) and _can_lock(descriptor)
        self._poll = _make_poll(descriptor)
        self._line_is_cut = False

    def write(self, lines: list[bytes], is_abandoned: Callable[[], bool]) -> int:
        """Write the lines, or as many as are taken until ``is_abandoned``."""
        with self._lock(is_abandoned) as locked:
            if not locked:
                return 0
            if self._line_is_cut:
                # A full disk may have taken the first half of a line and refused the rest.
                self._write_all(b"\n", is_abandoned)
            joined = b"".join(lines)
            if self._is_file or (self._room is not None and self._room.has(len(joined))):
                return len(lines) if self._write_all(joined, is_abandoned) else 0
            written = 0
            for count, chunk in _join_lines(lines):
                if not self._write_all(chunk, is_abandoned):
                    break
                written += count
            return written

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)

    def _write_all(self, content: bytes, is_abandoned: Callable[[], bool]) -> bool:
        view = memoryview(content)
        size = len(view) if self._is_file or self._wait_for_room(len(view), is_abandoned) else PIPE_BUF
        position = 0
        while position < len(view):
            # A pipe that polls as writable has room for this much, so no write waits.
            while not self._poll():
                if is_abandoned():
                    return False
            position += os.write(self._descriptor, view[position : position + size])
            self._line_is_cut = content[position - 1 : position] != b"\n"
        return True

    def _wait_for_room(self, length: int, is_abandoned: Callable[[], bool]) -> bool:
        """Wait until a pipe has room for that many bytes. False if no such room is known of."""
        if self._room is None or length <= PIPE_BUF or not self._room.may_have(length):
            return False
        while not self._room.has(length):
            if is_abandoned():
                return False
            time.sleep(_ROOM_PAUSE)
        return True

    @contextmanager
    def _lock(self, is_abandoned: Callable[[], bool]) -> Iterator[bool]:
        if not self._locks:
            yield True
            return
        import fcntl

        attempts = 0
        while True:
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except (BlockingIOError, PermissionError):
                # Waited for in steps, since the process that has the lock may wait for its reader.
                time.sleep(_LOCK_PAUSES[min(attempts, len(_LOCK_PAUSES) - 1)])
                attempts += 1
                if is_abandoned():
                    yield False
                    return
            except OSError:
                self._locks = False
                yield True
                return
        try:
            yield True
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)


class _PipeRoom:
    """The room in a pipe of Linux. Elsewhere pipes don't tell their capacity."""

    def __init__(self, descriptor: int, capacity: int) -> None:
        self._descriptor = descriptor
        self._capacity = capacity

    @classmethod
    def find(cls, descriptor: int, longest: int) -> _PipeRoom | None:
        """The room in a pipe, which is made large enough for several of the longest lines if the system allows it."""
        try:
            import fcntl

            wanted = 4 * longest
            if fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ) < wanted:
                with suppress(OSError):
                    fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, wanted)
            return cls(descriptor, fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ))
        except (ImportError, AttributeError, OSError):
            return None

    def may_have(self, length: int) -> bool:
        """Whether an empty pipe has room for that many bytes."""
        return length <= self._capacity

    def has(self, length: int) -> bool:
        """Whether there is room now."""
        import fcntl
        import termios

        used = int.from_bytes(fcntl.ioctl(self._descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)
        # The last page of what was written before may be used for half, and so may every page of short lines.
        return 2 * used + length + 2 * PIPE_BUF <= self._capacity or (not used and length <= self._capacity)


def _join_lines(lines: list[bytes]) -> Iterator[tuple[int, bytes]]:
    """Lines in pieces of up to `PIPE_BUF` bytes, with the number of lines in each; a longer line by itself."""
    joined: list[bytes] = []
    size = 0
    for line in lines:
        if joined and size + len(line) > PIPE_BUF:
            yield len(joined), b"".join(joined)
            joined, size = [], 0
        joined.append(line)
        size += len(line)
    if joined:
        yield len(joined), b"".join(joined)


def _make_poll(descriptor: int) -> Callable[[], bool]:
    """A function that waits for a moment until the descriptor takes data, and returns whether that happened."""
    if not hasattr(select, "poll"):
        return lambda: True
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    # Errors and hang-ups count as writable: the write then raises the error.
    return lambda: bool(poll.poll(1000 * _POLL))


def _can_lock(descriptor: int) -> bool:
    try:
        import fcntl

        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(descriptor, fcntl.LOCK_UN)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        return False
    return True
