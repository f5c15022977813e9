"""A warning when one Redis database serves two purposes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from bandmaster.contrib.redis.address import parse_address, same_database
from bandmaster.kernel import get_logger


def warn_if_shared(urls: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Log a warning for each pair of purposes that share one Redis database, and return the pairs.

    ``urls`` has the URL of each purpose, such as ``{"cache": ..., "tasks": ...}``. A cache may evict or flush keys that
    a task queue must not lose. The warning names hosts and databases, but neither users nor passwords.

    Raises:
        ValueError: a URL isn't the address of a Redis.
    """
    shared = tuple((one, other) for one, other in combinations(urls, 2) if same_database(urls[one], urls[other]))
    for one, other in shared:
        get_logger("bandmaster.redis").warning(
            "shared Redis database",
            purposes=[one, other],
            address=str(parse_address(urls[one])),
            hint="give each a database of its own: evicting or flushing one removes keys of the other",
        )
    return shared
