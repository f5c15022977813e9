"""Supervises several worker processes: starts, restarts and stops them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from bandmaster.kernel.commands import FAILED, MISCONFIGURED, OK

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_MOST_ENDS, _WITHIN = 5, 60.0
"""A process that ends so often within so many seconds isn't restarted any more."""
_POLL_SECONDS = 0.1


@dataclass(slots=True)
class ChildProcess:
    """One of several worker processes, kept over restarts."""

    number: int
    ends: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_ENDS))
    """The times of unexpected ends."""
    process: subprocess.Popen[bytes] | None = None
    start_at: float = 0.0


def supervise(arguments: Sequence[str], processes: int, health_port: int | None) -> int:
    """Run a command of bandmaster's in several processes until asked to stop, and return the exit code.

    Signals are forwarded to all of them. A process that ends unasked is restarted after a pause that doubles. One that
    can't be configured, or ends five times in a minute, stops all. If this process is killed, they stop themselves.
    """
    return _Supervisor(arguments, processes, health_port).run()


def end_with_parent(pipe: int) -> None:
    """Stop this process, as by SIGTERM, when the process at the other end of a pipe has died."""

    def watch() -> None:
        os.read(pipe, 1)  # the parent never writes: the read ends when the parent dies
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="bandmaster: parent", daemon=True).start()


def find_pause(ends: Sequence[float], now: float) -> float | None:
    """Seconds before a process that ended at these times is restarted; None after too many ends."""
    recent = [end for end in ends if now - end < _WITHIN]
    if len(recent) >= _MOST_ENDS:
        return None
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** max(0, len(recent) - 1))


def combine_codes(codes: Sequence[int]) -> int:
    """The exit code for all processes: a wrong configuration before a failure, before a signal, before a clean end."""
    by_weight = sorted(codes, key=lambda code: (code == MISCONFIGURED, code == FAILED, code))
    return by_weight[-1] if by_weight else OK


class _Supervisor:
    def __init__(self, arguments: Sequence[str], processes: int, health_port: int | None) -> None:
        self._arguments = arguments
        self._health_port = health_port
        self._children = [ChildProcess(number) for number in range(processes)]
        self._stopping = False
        self._codes: list[int] = []
        self._given_up: int | None = None
        self._read, self._write = os.pipe()

    def run(self) -> int:
        before = {number: signal.signal(number, self._on_signal) for number in _STOP_SIGNALS}
        try:
            while True:
                for child in self._children:
                    self._check(child)
                if self._stopping and all(child.process is None for child in self._children):
                    return self._given_up if self._given_up is not None else combine_codes(self._codes)
                time.sleep(_POLL_SECONDS)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(self._read)
            os.close(self._write)

    def _on_signal(self, _number: int, _frame: object) -> None:
        # At once, not in the loop: where a service manager signals the children too, they count both signals as one.
        self._stopping = True
        self._signal_children()

    def _signal_children(self) -> None:
        for child in self._children:
            if child.process is not None and child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)

    def _check(self, child: ChildProcess) -> None:
        now = time.monotonic()
        if child.process is None:
            if not self._stopping and now >= child.start_at:
                child.process = self._start(child)
            return
        code = child.process.poll()
        if code is None:
            return
        child.process = None
        code = 128 - code if code < 0 else code
        if self._stopping:
            self._codes.append(code)
            return
        child.ends.append(now)
        pause = None if code == MISCONFIGURED else find_pause(child.ends, now)
        if pause is None:
            _report(f"process {child.number} has ended with {code}, and isn't restarted: stopping all")
            self._given_up = MISCONFIGURED if code == MISCONFIGURED else FAILED
            self._stopping = True
            self._signal_children()
            return
        _report(f"process {child.number} has ended with {code}; it is restarted in {pause:g} s")
        child.start_at = now + pause

    def _start(self, child: ChildProcess) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "bandmaster.kernel.cli", *self._arguments, f"--parent-pipe={self._read}"]
        if self._health_port is not None:
            command += ["--health-port", str(self._health_port and self._health_port + child.number)]
        process = subprocess.Popen(  # noqa: S603  # our own interpreter, with the arguments that this process was given
            command,
            pass_fds=(self._read,),
            # A group of its own: a terminal's Ctrl-C reaches only this process, which forwards it.
            process_group=0,
        )
        _report(f"process {child.number} is {process.pid}")
        return process


def _report(text: str) -> None:
    os.write(2, f"bandmaster: {text}\n".encode())
