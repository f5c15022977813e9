"""A warning where one Redis database serves two purposes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import structlog

from bandmaster.contrib.redis.address import parse_address, same_database


def warn_if_shared(urls: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Warn of each two purposes that have one Redis database between them; the answer names them.

    ``urls`` has the URL for each purpose, such as ``{"cache": ..., "tasks": ...}``: what a cache may evict or flush, a
    task queue must not lose. The warning names hosts and databases, and neither users nor passwords.

    Raises:
        ValueError: one of them is no address of a Redis.
    """
    shared = tuple((one, other) for one, other in combinations(urls, 2) if same_database(urls[one], urls[other]))
    for one, other in shared:
        _log().warning(
            "shared Redis database",
            purposes=[one, other],
            address=str(parse_address(urls[one])),
            hint="give each a database of its own: what evicts or flushes one takes the other's",
        )
    return shared


def _log() -> Any:
    return structlog.get_logger("bandmaster.redis")
