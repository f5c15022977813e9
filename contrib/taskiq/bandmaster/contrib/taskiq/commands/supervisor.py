"""Several worker processes as one: started, watched, started anew where one ends, and stopped together."""

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

_STOPS = (signal.SIGTERM, signal.SIGINT)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_MOST_ENDS, _WITHIN = 5, 60.0
"""A process that ends more often than that isn't helped by starting it again."""
_LOOK = 0.1


@dataclass(slots=True)
class Seat:
    """The place of one process among several."""

    number: int
    ends: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_ENDS))
    """When processes here have ended by themselves."""
    process: subprocess.Popen[bytes] | None = None
    start_at: float = 0.0


def supervise(arguments: Sequence[str], processes: int, health_port: int | None) -> int:
    """Run a command of bandmaster's in several processes until asked to stop; the answer is the exit code.

    Signals go to all of them. One that ends by itself is started anew after a pause that doubles; one that can't be
    configured, or ends more than five times in a minute, ends all. Where this process is killed, they stop by themselves.
    """
    return _Supervisor(arguments, processes, health_port).run()


def end_with_parent(pipe: int) -> None:
    """Stop this process, as by SIGTERM, when the one at the other end of a pipe has died."""

    def watch() -> None:
        os.read(pipe, 1)  # nothing is ever written: it ends with the parent
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="bandmaster: parent", daemon=True).start()


def pause(ends: Sequence[float], now: float) -> float | None:
    """Seconds before a process is started anew that has ended at these times; none if it isn't any more."""
    recent = [end for end in ends if now - end < _WITHIN]
    if len(recent) >= _MOST_ENDS:
        return None
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** max(0, len(recent) - 1))


def worst(codes: Sequence[int]) -> int:
    """The exit code for all: a failure before work that was cut short, and that before a clean end."""
    by_weight = sorted(codes, key=lambda code: (code == MISCONFIGURED, code == FAILED, code))
    return by_weight[-1] if by_weight else OK


class _Supervisor:
    def __init__(self, arguments: Sequence[str], processes: int, health_port: int | None) -> None:
        self._arguments = arguments
        self._health_port = health_port
        self._seats = [Seat(number) for number in range(processes)]
        self._stopping = False
        self._codes: list[int] = []
        self._given_up: int | None = None
        self._read, self._write = os.pipe()

    def run(self) -> int:
        before = {number: signal.signal(number, self._heard) for number in _STOPS}
        try:
            while True:
                for seat in self._seats:
                    self._look_after(seat)
                if self._stopping and all(seat.process is None for seat in self._seats):
                    return self._given_up if self._given_up is not None else worst(self._codes)
                time.sleep(_LOOK)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(self._read)
            os.close(self._write)

    def _heard(self, _number: int, _frame: object) -> None:
        # At once: where a service manager signals all of them itself, they take the two for one.
        self._stopping = True
        self._tell_all()

    def _tell_all(self) -> None:
        for seat in self._seats:
            if seat.process is not None and seat.process.poll() is None:
                seat.process.send_signal(signal.SIGTERM)

    def _look_after(self, seat: Seat) -> None:
        now = time.monotonic()
        if seat.process is None:
            if not self._stopping and now >= seat.start_at:
                seat.process = self._start(seat)
            return
        code = seat.process.poll()
        if code is None:
            return
        seat.process = None
        code = 128 - code if code < 0 else code
        if self._stopping:
            self._codes.append(code)
            return
        seat.ends.append(now)
        wait = None if code == MISCONFIGURED else pause(seat.ends, now)
        if wait is None:
            self._say(f"process {seat.number} has ended with {code}, and isn't started again: stopping all")
            self._given_up = MISCONFIGURED if code == MISCONFIGURED else FAILED
            self._stopping = True
            self._tell_all()
            return
        self._say(f"process {seat.number} has ended with {code}; another is started in {wait:g} s")
        seat.start_at = now + wait

    def _start(self, seat: Seat) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "bandmaster.kernel.cli", *self._arguments, f"--parent-pipe={self._read}"]
        if self._health_port is not None:
            command += ["--health-port", str(self._health_port and self._health_port + seat.number)]
        started = subprocess.Popen(  # noqa: S603  # our own interpreter, with the arguments that this process was given
            command,
            pass_fds=(self._read,),
            # A terminal's Ctrl-C is for this process, which hands it on.
            process_group=0,
        )
        self._say(f"process {seat.number} is {started.pid}")
        return started

    @staticmethod
    def _say(text: str) -> None:
        os.write(2, f"bandmaster: {text}\n".encode())
