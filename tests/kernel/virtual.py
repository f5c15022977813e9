"""Event loops for async tests whose time is virtual: a test may wait for hours, and owns the clock."""

from __future__ import annotations

from typing import Any

import pytest
import trio.testing
from tests.kernel.harness.clock import VirtualLoop


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Both event loops, without I/O; modules that import this have it in place of the usual ones."""
    if request.param == "trio":
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return "asyncio", {"loop_factory": VirtualLoop}
