"""The folder by which the processes of an application find each other: a lock and a socket for each."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bandmaster.contrib.tracing.metrics.prometheus.file_locks import FileLock

__all__ = ["SharedFolder", "WorkerSlot", "find_default_folder"]

_LOCK, _SOCKET = ".lock", ".sock"
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]+")


@dataclass(frozen=True, slots=True)
class WorkerSlot:
    """The name of a process in the folder, such as ``web-0``: the lowest number of its role that was free."""

    name: str
    socket: Path
    lock: FileLock

    def release(self) -> None:
        """Give the name up and remove the files."""
        self.socket.unlink(missing_ok=True)
        self.lock.release()


class SharedFolder:
    """A folder in which each process holds a slot.

    A slot's number is used again when its process has ended. So the processes of an application have the same few names
    after any number of restarts, and a name is a good label.
    """

    def __init__(self, path: Path, *, private: bool) -> None:
        self.path = path
        self._private = private
        """Whether the folder is in a place where other users may make folders, so that the owner is checked."""

    def prepare(self) -> None:
        """Make the folder unless there is one.

        Raises:
            OSError: the folder can't be made, or belongs to somebody else.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._private:
            return
        found = self.path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise PermissionError(f"{self.path} isn't a folder that only this user may open")

    def take_slot(self, role: str) -> WorkerSlot:
        """Take the lowest free number of a role.

        Raises:
            OSError: files can't be made in the folder.
        """
        role = _NOT_IN_NAMES.sub("-", role) or "app"
        number = 0
        while True:
            name = f"{role}-{number}"
            lock = FileLock(self.path / (name + _LOCK))
            if lock.try_take():
                slot = WorkerSlot(name, self.path / (name + _SOCKET), lock)
                slot.socket.unlink(missing_ok=True)  # of a process that was killed
                return slot
            number += 1

    def make_lock(self, name: str) -> FileLock:
        """The lock of something that one process of the folder does for all."""
        return FileLock(self.path / (name + _LOCK))

    def list_sockets(self) -> list[Path]:
        """The sockets of all processes, in the order of their names."""
        return sorted(self.path.glob("*" + _SOCKET))

    def remove_stale(self, socket: Path) -> bool:
        """Remove a socket whose process has ended; returns whether the process had."""
        lock = FileLock(socket.with_suffix(_LOCK))
        if not lock.try_take():
            return False
        socket.unlink(missing_ok=True)
        lock.release()
        return True

    def remove_if_empty(self) -> None:
        """Remove the folder after the last process, if this package chose its place."""
        if self._private:
            try:
                self.path.rmdir()
            except OSError:
                pass  # others are in it


def find_default_folder(port: int) -> Path:
    """The folder of all processes of this user that serve their metrics on the same port."""
    return Path(tempfile.gettempdir()) / f"bandmaster-metrics-{os.getuid()}-{port}"
