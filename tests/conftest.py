"""Fixtures that every test may use."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
import structlog
from tests import leftovers


def pytest_configure(config: pytest.Config) -> None:
    """Signals act as at a terminal, also where a shell started the tests in its background and had them ignored."""
    # Not from this file: fixtures of the session don't call the hooks of a conftest.py below the root.
    config.pluginmanager.register(leftovers)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Every async test runs on both event loops."""
    return str(request.param)


@pytest.fixture(autouse=True)
def check_leftovers(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that leaves a thread, an event loop, a socket or a child process behind fails, and not a later one."""
    test = request.config.stash[leftovers.CURRENT] = leftovers.Leftovers()
    yield
    found = test.find()
    assert not found, "the test leaves behind:\n" + "\n".join(found)


@pytest.fixture(autouse=True)
def signal_handlers_stay() -> Iterator[None]:
    """No test leaves a signal handler behind, not even one that fails half-way."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def logging_stays() -> Iterator[None]:
    """No test leaves structlog configured for the next one, as `capture_logs` and tests of settings would."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
