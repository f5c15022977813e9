"""Fetch the metrics of other processes over their Unix sockets."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["WorkerText", "fetch_texts"]

_MOST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class WorkerText:
    """The answer of one process."""

    socket: Path
    text: bytes | None
    """None without an answer in time."""
    content_type: str = ""
    refused: bool = False
    """Whether nobody listens on the socket."""


def fetch_texts(sockets: Sequence[Path], accept: str, timeout: float) -> list[WorkerText]:
    """The texts of the processes that listen on these sockets, in that order.

    All are asked before the first answer is read, so that they render at the same time. ``timeout`` is in seconds and
    holds for all together.
    """
    end = time.monotonic() + timeout
    with contextlib.ExitStack() as stack:
        asked: list[tuple[Path, _UnixConnection | None, bool]] = []
        for path in sockets:
            connection = stack.enter_context(contextlib.closing(_UnixConnection(path, timeout)))
            try:
                connection.request("GET", "/metrics", headers={"Accept": accept})
            except (ConnectionRefusedError, FileNotFoundError):
                asked.append((path, None, True))
            except (OSError, http.client.HTTPException):
                asked.append((path, None, False))
            else:
                asked.append((path, connection, False))
        return [
            WorkerText(path, None, refused=refused) if connection is None else _read(path, connection, end)
            for path, connection, refused in asked
        ]


def _read(path: Path, connection: _UnixConnection, end: float) -> WorkerText:
    assert connection.sock is not None  # it is connected
    connection.sock.settimeout(max(0.01, end - time.monotonic()))
    try:
        response = connection.getresponse()
        text = response.read(_MOST_BYTES)
    except (OSError, http.client.HTTPException):
        return WorkerText(path, None)
    if response.status != http.client.OK:
        return WorkerText(path, None)
    return WorkerText(path, text, response.getheader("Content-Type", ""))


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("local", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            self.sock = None
            raise
