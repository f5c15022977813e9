"""OpenTelemetry's global provider: whose that is, and how ours takes the place for as long as the application runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NoOpTracerProvider, Span, Tracer, TracerProvider
from opentelemetry.util.types import Attributes

from bandmaster.contrib.tracing.opentelemetry_internals import find_global_provider

_NOTHING = NoOpTracerProvider()


class ReplaceableProvider(TracerProvider):
    """The global provider: whichever provider runs at the moment, and none after the stop.

    OpenTelemetry's global provider can be set once in a process. So this one is set, and the applications that run one
    after the other take turns in it. Tracers that libraries have kept lead to the provider of the moment as well.
    """

    def __init__(self) -> None:
        self.providers: list[TracerProvider] = []
        """The providers of running applications; the last counts."""

    @property
    def current(self) -> TracerProvider:
        """The provider of the moment."""
        return self.providers[-1] if self.providers else _NOTHING

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> Tracer:
        """A tracer that makes each span by the provider of the moment."""
        return _ReplaceableTracer(
            self, (instrumenting_module_name, instrumenting_library_version, schema_url, attributes)
        )

    def __getattr__(self, name: str) -> Any:
        # Libraries add processors to the global provider, which is a method of the SDK's provider alone.
        return getattr(self.current, name)


class _ReplaceableTracer(Tracer):
    def __init__(self, source: ReplaceableProvider, arguments: tuple[Any, ...]) -> None:
        self._source = source
        self._arguments = arguments
        self._known: tuple[TracerProvider, Tracer] | None = None

    @property
    def _tracer(self) -> Tracer:
        provider = self._source.current
        known = self._known
        if known is None or known[0] is not provider:
            known = self._known = (provider, provider.get_tracer(*self._arguments))
        return known[1]

    def start_span(self, name: str, context: Context | None = None, *args: Any, **kwargs: Any) -> Span:
        return self._tracer.start_span(name, context, *args, **kwargs)

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Any:
        return self._tracer.start_as_current_span(*args, **kwargs)


@contextmanager
def set_global(provider: TracerProvider) -> Iterator[bool]:
    """Make a provider the global one until the block ends. False if another program has set one, which stays."""
    if find_global_provider() is None:
        trace.set_tracer_provider(ReplaceableProvider())
    shared = find_global_provider()
    if not isinstance(shared, ReplaceableProvider):
        yield False
        return
    shared.providers.append(provider)
    try:
        yield True
    finally:
        shared.providers.remove(provider)


def find_foreign_provider() -> TracerProvider | None:
    """The global provider that another program has set, such as ``opentelemetry-instrument``."""
    provider = find_global_provider()
    return None if provider is None or isinstance(provider, ReplaceableProvider) else provider


def describe_global() -> str:
    """Whose provider is global at this moment, as a part of a sentence."""
    return describe_owner(find_foreign_provider())


def describe_owner(foreign: object | None) -> str:
    """Whose a global provider is, given the one that another program has set."""
    if foreign is None:
        return "nobody's"
    kind = type(foreign)
    return f"a {kind.__module__}.{kind.__qualname__} that another program has set"
