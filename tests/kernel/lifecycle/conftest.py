"""Fixtures of the lifecycle's tests."""

from __future__ import annotations

import pytest
from tests.kernel.lifecycle.engines import Recorder


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    """The name of each event loop."""
    return str(request.param)


@pytest.fixture
def record() -> Recorder:
    """An empty record."""
    return Recorder()
