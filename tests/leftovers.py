"""Find the threads, event loops, sockets and child processes that a test leaves behind."""

import gc
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

PATIENCE = 5.0
"""Seconds that a thread or a process has to end, on a busy machine."""
_PAUSE = 0.01
_KEPT_THREADS = ("AnyIO worker thread", "Trio thread", "ThreadPoolExecutor", "(_monitor)")
"""Parts of the names of threads that may outlive a test.

They end by themselves after a while without use, or with the pool of a wider fixture. "(_monitor)" is logging's queue
listener, which Litestar stops when the interpreter exits.
"""
SCENARIO_THREADS = "scenario"
"""The prefix of threads that run server scenarios beside the tests, with processes and sockets of their own."""
_KEPT_CHILDREN = ("guardian.py", "multiprocessing.resource_tracker")
"""Programs that serve the whole test process: the guardian of its servers, and multiprocessing's resource tracker."""
_WATCHED = ("socket:", "anon_inode:[eventpoll]")
"""Open files that must not outlive a test: sockets, and the selectors that event loops hold until they are closed."""


class Leftovers:
    """The threads, open files and children that exist before a test, to compare with those after it."""

    def __init__(self):
        self._threads = set(threading.enumerate())
        self._files = _list_files()
        self._children = _list_children()

    def keep_new(self, before):
        """Leave out everything that has begun since ``before`` was constructed."""
        self._threads |= set(threading.enumerate()) - before._threads
        self._files |= _list_files() - before._files
        self._children |= _list_children() - before._children

    def find(self):
        """Name the threads, files and children that are new and don't end within `PATIENCE`."""
        if not self._list_new() or any(thread.name.startswith(SCENARIO_THREADS) for thread in self._threads):
            return []
        # An exception may hold a frame, and the frame a socket, in a cycle that only the collector ends.
        gc.collect()
        end = time.monotonic() + PATIENCE
        while (found := self._list_new()) and time.monotonic() < end:
            time.sleep(_PAUSE)
        return found

    def _list_new(self):
        threads = [
            f"the thread {thread.name!r} still runs"
            for thread in threading.enumerate()
            if thread not in self._threads and not any(kept in thread.name for kept in _KEPT_THREADS)
        ]
        files = [
            f"{name} is still open"
            for name, number in _list_files() - self._files
            if not name.startswith("socket:") or _is_internet_socket(number)
        ]
        children = [
            f"the child process {child} ({program}) hasn't been waited for"
            for child in _list_children() - self._children
            if not any(kept in (program := _read_program(child)) for kept in _KEPT_CHILDREN)
        ]
        return [*threads, *files, *children]


CURRENT = pytest.StashKey()
"""The `Leftovers` of the test that runs."""


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef, request):
    """A fixture of several tests may leave behind what it starts, also where a test asks for it midway."""
    test = request.config.stash.get(CURRENT, None)
    if test is None or fixturedef.scope == "function":
        return (yield)
    before = Leftovers()
    try:
        return (yield)
    finally:
        test.keep_new(before)


def _list_files():
    """List the watched open files of this process: their targets and numbers. None on a system without /proc."""
    found = set()
    with suppress(FileNotFoundError):
        for number in os.listdir("/proc/self/fd"):
            with suppress(FileNotFoundError):  # closed meanwhile
                name = os.readlink(f"/proc/self/fd/{number}")
                if name.startswith(_WATCHED):
                    # All selectors have the same target, so the number distinguishes them.
                    found.add((name, int(number)))
    return found


def _is_internet_socket(number):
    """Whether an open file is an internet socket. granian's tokio keeps a local pair for ever, which doesn't count."""
    with suppress(OSError), socket.socket(fileno=os.dup(number)) as opened:  # closed meanwhile
        return opened.family != socket.AF_UNIX
    return False


def _list_children():
    """List the ids of this process' children. None on a system without /proc."""
    found = set()
    for path in Path("/proc/self/task").glob("*/children"):
        with suppress(FileNotFoundError):  # a thread that has ended meanwhile
            found.update(path.read_text().split())
    return found


def _read_program(process):
    """The command line of a process, or "ended"."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ").strip() or "ended"
    except FileNotFoundError:
        return "ended"
