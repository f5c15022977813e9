"""Fixtures of stores on real servers: asyncio, a clock that begins at the real time, and servers of a test's own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.contrib.oidc.clock import Clock

from bandmaster.contrib.redis.testing import redis_server
from bandmaster.kernel.testing import ServerUnavailable, skip_or_fail


@pytest.fixture
def anyio_backend() -> str:
    """Redis and databases are used on asyncio only."""
    return "asyncio"


@pytest.fixture
def clock() -> Clock:
    """A clock that the test moves, from the real time on: servers let keys expire by that."""
    return Clock(time.time())


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Starts servers with options for one test, which may stop them, and ends them after the test."""
    with ExitStack() as stack:

        def start(*options: str) -> Any:
            folder = tmp_path / f"redis-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            try:
                return stack.enter_context(redis_server(folder, options=options))
            except ServerUnavailable as error:
                skip_or_fail(error)

        yield start
