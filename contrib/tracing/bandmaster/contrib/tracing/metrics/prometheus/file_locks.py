"""Locks on files, which the system releases when their process ends or is killed."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

__all__ = ["FileLock"]


class FileLock:
    """An exclusive lock on a file, held from `try_take` until `release` or the end of the process.

    ``flock`` is used rather than the record locks of POSIX, so that two kernels in one process exclude each other too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock."""
        return self._file is not None

    def try_take(self) -> bool:
        """Take the lock unless another object holds the lock; returns whether this object holds the lock now.

        Raises:
            OSError: the file can't be opened.
        """
        while self._file is None:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(file)
                return False
            # Between the two calls the holder may have removed the file: then this lock is on a file without a name.
            if _is_same_file(file, self.path):
                self._file = file
            else:
                os.close(file)
        return True

    def release(self) -> None:
        """Release the lock and remove the file. Does nothing if the lock isn't held."""
        file, self._file = self._file, None
        if file is not None:
            self.path.unlink(missing_ok=True)
            os.close(file)

    def close_in_child(self) -> None:
        """Close the copy that a forked child has of the file, which would keep the lock after this process."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _is_same_file(file: int, path: Path) -> bool:
    try:
        there, held = path.stat(), os.fstat(file)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)
