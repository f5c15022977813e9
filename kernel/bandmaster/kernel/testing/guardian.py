"""Processes and folders for tests that end with the test process, even when SIGKILL ends the test process.

A test process that is killed runs no clean-up. So the first process or folder starts a second program, the guardian,
which is this file. The guardian reads from a pipe, and only the test process can write to that pipe. When the pipe
closes, the test process has ended, for any reason. Then the guardian ends the remaining processes and removes the
remaining folders.
"""

# Only the standard library: the guardian runs this file without any other package, and starts in 20 ms.
from __future__ import annotations

import atexit
import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

_GRACE = 5.0
"""Seconds between a process' stop signal and SIGKILL, once the test process has ended."""
_PAUSE = 0.02
_AWAIT_LINE = 'read -r line || exit; exec "$@" </dev/null'
"""A shell script that waits for a line on its input and then becomes the command, or ends when the input closes."""
_START_LOCK = threading.Lock()


@contextmanager
def guarded_process(
    command: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = subprocess.STDOUT,
    stop_signal: int = signal.SIGTERM,
    user: int | None = None,
    group: int | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process in a session of its own; when the block ends, SIGKILL ends every process left in that session.

    If this process ends before the block, the guardian sends ``stop_signal``, and SIGKILL 5 seconds later.
    ``environment`` is the process' whole environment; None passes on this process' own. ``stdout`` receives both
    outputs, unless ``stderr`` names another target. ``user`` and ``group`` are the ids that the process runs as.

    Raises:
        OSError: the program doesn't exist or can't be run.
    """
    program = os.fspath(command[0])
    if shutil.which(program, path=None if environment is None else environment.get("PATH")) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)
    process = subprocess.Popen(  # noqa: S603  # the caller's command, as it stands
        # A SIGKILL between the start and the registration would leave the process behind. So the command waits until
        # the guardian's pipe holds its process id.
        ["/bin/sh", "-c", _AWAIT_LINE, "sh", *command],
        cwd=cwd,
        env=None if environment is None else dict(environment),
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        # Ctrl-C at the terminal is for the tests; they end their processes themselves.
        start_new_session=True,
        user=user,
        group=group,
        extra_groups=None if user is None else [],
    )
    with process:
        try:
            _notify_guardian(f"process {process.pid} {int(stop_signal)}")
            _begin_command(process)
            yield process
        finally:
            _signal_session(process.pid, signal.SIGKILL)
    _notify_guardian(f"ended {process.pid}")


@contextmanager
def guarded_folder(prefix: str) -> Iterator[Path]:
    """Make a temporary folder, and remove it when the block or this process ends."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    _notify_guardian(f"folder {folder}")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _notify_guardian(f"removed {folder}")


def _begin_command(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None  # for the type checker
    with suppress(BrokenPipeError):  # the process has already been killed
        process.stdin.write(b"\n")
        process.stdin.close()
    process.stdin = None


def _notify_guardian(line: str) -> None:
    with _START_LOCK:
        # Two guardians would each know half of the processes. A cached function may run twice in two threads.
        pipe = _start_guardian()
    # The write of a short line to a pipe is atomic, also with several threads.
    os.write(pipe, f"{line}\n".encode())


@cache
def _start_guardian() -> int:
    """Start the guardian of this process, once, and return the file descriptor of its pipe."""
    guardian = subprocess.Popen(  # noqa: S603  # this file
        [sys.executable, "-I", "-S", __file__],
        cwd="/",
        stdin=subprocess.PIPE,
        # A parent that reads this process' output to the end must not wait for the guardian, too.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert guardian.stdin is not None  # for the type checker
    atexit.register(_wait_for_guardian, guardian)
    return guardian.stdin.fileno()


def _wait_for_guardian(guardian: subprocess.Popen[bytes]) -> None:
    with suppress(subprocess.TimeoutExpired):
        guardian.communicate(timeout=2 * _GRACE)


def guard(lines: Iterable[str]) -> None:
    """Read the processes and folders of a test process; at the end of the lines, end and remove those that are left."""
    stop_signals: dict[int, int] = {}
    folders: set[str] = set()
    for line in lines:
        kind, _, rest = line.rstrip("\n").partition(" ")
        match kind:
            case "process":
                numbers = rest.split()
                stop_signals[int(numbers[0])] = int(numbers[1])
            case "ended":
                del stop_signals[int(rest)]
            case "folder":
                folders.add(rest)
            case "removed":
                folders.remove(rest)
    for leader, number in stop_signals.items():
        _signal_session(leader, number)
    end = time.monotonic() + _GRACE
    while time.monotonic() < end and any(map(_find_session, stop_signals)):
        time.sleep(_PAUSE)
    for leader in stop_signals:
        _signal_session(leader, signal.SIGKILL)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _signal_session(leader: int, number: int) -> None:
    """Signal every process of a session, also those that start meanwhile."""
    signalled: set[int] = set()
    while new := _find_session(leader) - signalled:
        signalled |= new
        for process in new:
            with suppress(ProcessLookupError):
                os.kill(process, number)


def _find_session(leader: int) -> set[int]:
    """Find the processes of a session. A process group isn't enough: supervisors give each child one of its own."""
    found = set()
    for process in _list_processes():
        with suppress(OSError):  # the process has ended meanwhile
            if os.getsid(process) == leader:
                found.add(process)
    return found


def _list_processes() -> list[int]:
    if Path("/proc/self").exists():
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208  # a plain list of names
    listed = subprocess.run(["ps", "-A", "-o", "pid="], capture_output=True, check=True)  # noqa: S607
    return [int(number) for number in listed.stdout.split()]


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # The guardian must outlive the test process.
        signal.signal(number, signal.SIG_IGN)
    guard(sys.stdin)
