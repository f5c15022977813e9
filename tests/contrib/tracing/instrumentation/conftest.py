"""A provider whose spans stay in memory, for tests of the spans themselves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from tests.contrib.tracing.instrumentation.memory import Memory


@pytest.fixture
def memory() -> Iterator[Memory]:
    """A provider, its spans, and a check at the end that none of them is open."""
    memory = Memory()
    yield memory
    memory.provider.shutdown()
    assert [] == memory.open


@pytest.fixture
def propagator() -> TextMapPropagator:
    """The formats of W3C."""
    return CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])
