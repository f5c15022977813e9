"""The samplers: which traces are recorded, and none for requests to excluded paths."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.context import Context, create_key, get_current
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from bandmaster.contrib.tracing.configuration import Sampling

_UNTRACED = create_key("bandmaster-untraced")

_ALWAYS = create_key("bandmaster-always")

ALWAYS_CONTEXT = Context({_ALWAYS: True})
"""A context whose spans are recorded at any share of requests, since there are few of them."""
UNTRACED_CONTEXT = Context({_UNTRACED: True})
"""A context in which no span is recorded: neither that of an excluded request nor those of its statements and calls."""


def make_sampler(sampling: Sampling) -> Sampler:
    """The sampler that the configuration describes."""
    ratio: Sampler = TraceIdRatioBased(sampling.ratio)
    if sampling.ratio == 1:
        ratio = ALWAYS_ON
    elif sampling.ratio == 0:
        ratio = ALWAYS_OFF
    return ContextSampler(ParentBased(ratio) if sampling.follows_parent else ratio)


class ContextSampler(Sampler):
    """Leaves the decision to another sampler, except in the contexts `UNTRACED_CONTEXT` and `ALWAYS_CONTEXT`."""

    def __init__(self, inner: Sampler) -> None:
        self._should_sample = inner.should_sample
        self._inner = inner

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """The decision for a span that begins."""
        context = get_current() if parent_context is None else parent_context
        if _UNTRACED in context:
            return SamplingResult(Decision.DROP)
        if _ALWAYS in context:
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)
        return self._should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """The description of the other sampler."""
        return self._inner.get_description()
