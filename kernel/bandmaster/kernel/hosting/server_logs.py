"""Keep servers from logging failures that are none or have been logged, and hold the texts of their loggers.

`tests/processes/test_logs.py` fails when a new version of a server changes one of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakSet

import anyio
from starlette.types import Send

from bandmaster.kernel.logs import note_logged, was_logged
from bandmaster.kernel.stack.disconnects import is_disconnect

_GRANIANS_LOGGER = "_granian"
_LOGGERS = ("uvicorn.error", "hypercorn.error", _GRANIANS_LOGGER, "_granian.utils")
_GRANIANS_TEXT = "Application callable raised an exception"
"""The first line of granian's record of an exception, which has the traceback as text and not the exception."""

_UVICORNS_TEXT = "ASGI callable returned without completing response."
"""uvicorn's record of a response that has no end, made in the task of the request."""


class ServerLogFilter(logging.Filter):
    """Drops the records of servers about exceptions that need none.

    These are exceptions that have been logged with the request that they belong to, those which mean only that the
    client has left, and cancellations, of which the drain warns. They go on to the server all the same, and pass error
    trackers on the way. The records of streams that the drain has ended are dropped as well: they have no end of their
    own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._leaving = ""
        self._ended: WeakSet[asyncio.Task[Any]] = WeakSet()
        """The tasks of streams that the drain has ended. A server has one task for each request."""

    @asynccontextmanager
    async def installed(self) -> AsyncIterator[None]:
        """Filter the records of every server until the block ends."""
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self)
        try:
            yield
        finally:
            for name in _LOGGERS:
                logging.getLogger(name).removeFilter(self)

    def note_exception(self, error: BaseException, send: Send) -> None:
        """Note that an exception leaves the application for the server; ``send`` is the server's."""
        if isinstance(error, Exception):
            needs_record = not is_disconnect(error, send)
        else:
            # The drain's warning tells of requests that are cancelled.
            needs_record = not isinstance(error, anyio.get_cancelled_exc_class())
        if not needs_record:
            note_logged(error)
        # granian makes its record before anything else runs in this thread, so one place is enough.
        self._leaving = _render_last_line(error) if was_logged(error) else ""

    def note_ended_stream(self) -> None:
        """Note that the request of this task has a response without an end, because the drain has ended the stream."""
        if (task := _find_task()) is not None:
            self._ended.add(task)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record of a server is handled."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            return not was_logged(error)
        if self._leaving and record.getMessage().startswith(_GRANIANS_TEXT):
            leaving, self._leaving = self._leaving, ""
            return leaving not in record.getMessage()
        return record.msg != _UVICORNS_TEXT or _find_task() not in self._ended


def omit_traceback_of(error: BaseException, send: Send) -> None:
    """Let granian's record of a failed start or stop have no traceback: the failure has been logged.

    ``send`` is the server's. The filter stays, since granian makes the record after the application has been left, and
    its worker ends then. Other servers make no record with a traceback of what the application raises.
    """
    if type(getattr(send, "__self__", None)).__module__.partition(".")[0] == "granian":
        note_logged(error)
        logging.getLogger(_GRANIANS_LOGGER).addFilter(_omit_traceback)


def _omit_traceback(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if error is not None and was_logged(error):
        record.exc_info = None
    return True


def _find_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # on trio, where uvicorn doesn't run, or in a thread
        return None


def _render_last_line(error: BaseException) -> str:
    """The line of an exception below granian's traceback, which names the type without its module."""
    text = str(error).partition("\n")[0]
    return f"{type(error).__qualname__}: {text}" if text else type(error).__qualname__
