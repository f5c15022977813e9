"""Event loops with virtual time for async tests: a test may wait for hours, and owns the clock."""

from __future__ import annotations

from typing import Any

import pytest
import trio.testing
from tests.kernel.harness.clock import VirtualLoop


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Both event loops, without I/O. A test module that imports this fixture runs on them."""
    if request.param == "trio":
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return "asyncio", {"loop_factory": VirtualLoop}
