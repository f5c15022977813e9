"""Keep servers from logging an exception of a request a second time, and hold the names of their loggers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from bandmaster.kernel.logs import was_logged

SERVER_LOGGERS = ("uvicorn.error", "hypercorn.error", "_granian")
"""The loggers of the servers. `tests/processes/test_logs.py` fails when a new version of a server renames its own."""


class _DropLogged(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return error is None or not was_logged(error)


@contextmanager
def dropping_logged_exceptions() -> Iterator[None]:
    """Drop the records of servers about exceptions that have been logged with the request that they belong to.

    An exception of a request goes on to the server in any case, and passes error trackers on the way.
    """
    drop = _DropLogged()
    for name in SERVER_LOGGERS:
        logging.getLogger(name).addFilter(drop)
    try:
        yield
    finally:
        for name in SERVER_LOGGERS:
            logging.getLogger(name).removeFilter(drop)
