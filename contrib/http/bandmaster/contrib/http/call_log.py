"""Keep paths and queries of calls out of the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2


class _OriginFilter(logging.Filter):
    """Reduces the URLs in records of httpx2 to their origins. Paths and queries may hold keys, as webhooks' do."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                _render_origin(value) if isinstance(value, httpx2.URL) else value for value in record.args
            )
        return True


@contextmanager
def hide_urls() -> Iterator[None]:
    """Let httpx2 log each call with the origin alone, until the block ends."""
    logger, shortening = logging.getLogger("httpx2"), _OriginFilter()
    logger.addFilter(shortening)
    try:
        yield
    finally:
        logger.removeFilter(shortening)


def _render_origin(url: httpx2.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii')}"
