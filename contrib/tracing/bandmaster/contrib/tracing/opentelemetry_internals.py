"""The internals of OpenTelemetry's API and SDK that the package relies on.

``tests/contrib/tracing/test_opentelemetry_internals.py`` fails if a new version changes one of them.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context


@contextmanager
def suppress_instrumentation() -> Iterator[None]:
    """Ask instrumentations of libraries to make no spans until the block ends. The API has no public name for that."""
    token = context_api.attach(context_api.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        yield
    finally:
        context_api.detach(token)


def find_global_provider() -> trace.TracerProvider | None:
    """The global provider, if one was set. The public function may set one, from a variable."""
    provider: trace.TracerProvider | None = getattr(trace, "_TRACER_PROVIDER", None)
    return provider


def enable_provider(provider: Any) -> None:
    """Let a provider of the SDK make spans although ``OTEL_SDK_DISABLED`` is set, for a setting overrules that."""
    provider._disabled = False  # noqa: SLF001


class _ParsedTraceState(trace.TraceState):
    def __init__(self, entries: Any = None) -> None:
        super().__init__(None)
        self._dict.update(entries or ())


def make_trace_state(members: Iterable[tuple[str, str]]) -> trace.TraceState:
    """A trace state of members that were checked before.

    The API's own constructor checks keys by level 1 of W3C Trace Context, and logs a warning for each dropped member.
    """
    return _ParsedTraceState(list(members))


def span_context_key() -> str:
    """The key under which a context has its span."""
    span = trace.NonRecordingSpan(trace.INVALID_SPAN_CONTEXT)
    (key,) = trace.set_span_in_context(span, Context())
    return key


class _LostSpans:
    """The listeners for spans that are made through the global API while no provider is global."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[str], None]] = []
        self.original: Any = None
        self.lock = threading.Lock()


_LOST = _LostSpans()
# One for the process: what is replaced is a property of a class of the API, so the last listener restores it.


@contextmanager
def listen_for_lost_spans(listener: Callable[[str], None]) -> Iterator[None]:
    """Call a function with the name of the library when a span is made that goes nowhere, until the block ends.

    Without a global provider a library has a `ProxyTracer`, which looks for the provider at each span, and makes none
    while there isn't one.
    """
    proxy: Any = trace.ProxyTracer
    with _LOST.lock:
        if not _LOST.listeners:
            original = _LOST.original = proxy._tracer  # noqa: SLF001

            def find_tracer(self: Any) -> Any:
                tracer = original.fget(self)
                if isinstance(tracer, trace.NoOpTracer):
                    for each in list(_LOST.listeners):
                        each(self._instrumenting_module_name)
                return tracer

            proxy._tracer = property(find_tracer)  # noqa: SLF001
        _LOST.listeners.append(listener)
    try:
        yield
    finally:
        with _LOST.lock:
            _LOST.listeners.remove(listener)
            if not _LOST.listeners:
                proxy._tracer = _LOST.original  # noqa: SLF001


def runs_under_zero_code() -> bool:
    """Whether ``opentelemetry-instrument`` has started this process."""
    return "opentelemetry.instrumentation.auto_instrumentation" in sys.modules
