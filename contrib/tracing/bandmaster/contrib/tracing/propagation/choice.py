"""Make the propagator that ``OTEL_PROPAGATORS`` names."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator

from bandmaster.contrib.tracing.propagation.trace_context import TraceContextPropagator

_GROUP = "opentelemetry_propagator"
"""The group of entry points of OpenTelemetry's propagators."""
_NONE = "none"


def make_propagator(names: str) -> TextMapPropagator:
    """The propagator for a list of names such as ``tracecontext,baggage``; ``none`` reads and writes nothing."""
    return CompositePropagator([_make_one(name) for name in _split(names)])


def find_unknown_propagators(names: str) -> Iterator[str]:
    """The names that no installed distribution brings."""
    known = list_propagators()
    yield from (name for name in _split(names) if name not in known)


def list_propagators() -> list[str]:
    """The names of all installed propagators."""
    return sorted({entry.name for entry in importlib.metadata.entry_points(group=_GROUP)} | {"baggage", "tracecontext"})


def _split(names: str) -> list[str]:
    found = [name.strip().lower() for name in names.split(",") if name.strip()]
    return [] if _NONE in found else list(dict.fromkeys(found))


def _make_one(name: str) -> TextMapPropagator:
    if name == "tracecontext":
        return TraceContextPropagator()
    if name == "baggage":
        return W3CBaggagePropagator()
    (entry, *_) = importlib.metadata.entry_points(group=_GROUP, name=name)
    propagator: TextMapPropagator = entry.load()()
    return propagator
