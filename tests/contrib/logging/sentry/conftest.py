"""A DSN receiver for each test, and an application that reports to it."""

import pytest
from tests.contrib.logging.sentry.receiver import sentry_receiver


@pytest.fixture
def receiver():
    """A server that takes envelopes."""
    with sentry_receiver() as running:
        yield running


@pytest.fixture
def anyio_backend():
    """Run on asyncio alone: the SDK knows nothing else."""
    return "asyncio"
