"""Fixtures that every test may use."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
import structlog


def pytest_configure() -> None:
    """Signals act as at a terminal, also where a shell started the tests in its background and had them ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Every async test runs on both event loops."""
    return str(request.param)


@pytest.fixture(autouse=True)
def signal_handlers_stay() -> Iterator[None]:
    """No test leaves a signal handler behind, not even one that fails half-way."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def logging_stays() -> Iterator[None]:
    """No test leaves structlog configured: `capture_logs` and what tries settings out do, for whichever test is next."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
