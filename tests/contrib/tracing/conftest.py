"""Fixtures of the tests of tracing and metrics."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.contrib.tracing.receiver import Receiver, open_receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A collector that takes everything."""
    with open_receiver() as receiver:
        yield receiver
