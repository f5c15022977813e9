"""Fixtures of all tests: the event loops, and checks that a test leaves nothing behind."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator

import hypothesis
import pytest
import structlog
from tests import leftovers


def pytest_configure(config: pytest.Config) -> None:
    """Give signals their usual effect: a shell in whose background they run makes them ignore SIGINT and SIGQUIT,
    and nohup makes them ignore SIGHUP.

    And give the examples of properties as much time as a busy machine takes.
    """
    # Not from this file: fixtures of the session don't call the hooks of a conftest.py below the root.
    config.pluginmanager.register(leftovers)
    too_slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=too_slow)
    hypothesis.settings.load_profile("patient")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Every async test runs on both event loops."""
    return str(request.param)


@pytest.fixture(autouse=True)
def check_leftovers(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test that leaves a thread, an event loop, a socket or a child process behind, not a later one."""
    test = request.config.stash[leftovers.CURRENT] = leftovers.Leftovers()
    yield
    found = test.find()
    assert not found, "the test leaves behind:\n" + "\n".join(found)


@pytest.fixture(autouse=True)
def restore_signal_handlers() -> Iterator[None]:
    """Restore the handlers of stop signals after each test, also after one that fails half-way."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def restore_root_logger() -> Iterator[None]:
    """Restore the root logger after each test: Litestar's applications give it a level and a handler for ever."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture(autouse=True)
def reset_structlog() -> Iterator[None]:
    """Reset structlog's configuration around each test: `capture_logs` and tests of settings change it."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
