"""The trace of the code that writes a message, in the headers of W3C Trace Context."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


def make_trace_headers() -> dict[str, str]:
    """The headers of the current trace; none outside of one, and without OpenTelemetry's API in this process."""
    if "opentelemetry.trace" not in sys.modules:
        return {}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    return headers


@contextmanager
def restore_trace(headers: Mapping[str, str]) -> Iterator[None]:
    """Continue the trace of a message's writer, until the block ends. A message without one has no trace."""
    if "opentelemetry.trace" not in sys.modules:
        yield
        return
    from opentelemetry.context import Context, attach, detach
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    token = attach(TraceContextTextMapPropagator().extract(headers, Context()))
    try:
        yield
    finally:
        detach(token)
