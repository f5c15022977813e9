"""Find the provider for code that has none at hand, such as a function under `traced`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context as context_api
from opentelemetry.context import Context, create_key
from opentelemetry.trace import TracerProvider

from bandmaster.contrib.tracing.opentelemetry_internals import find_global_provider

_PROVIDER = create_key("bandmaster-tracer-provider")

# The providers of the applications that run in this process, as OpenTelemetry has its global one: a function under
# `traced` is made when its module is imported, and called wherever.
_RUNNING: list[TracerProvider] = []
_LOCK = threading.Lock()


@contextmanager
def register_provider(provider: TracerProvider) -> Iterator[None]:
    """Have `current_provider` find a provider until the block ends."""
    with _LOCK:
        _RUNNING.append(provider)
    try:
        yield
    finally:
        with _LOCK:
            _RUNNING.remove(provider)


def make_context(provider: TracerProvider, context: Context | None = None) -> Context:
    """A context in which `current_provider` is this provider."""
    return context_api.set_value(_PROVIDER, provider, context)


def current_provider() -> TracerProvider | None:
    """The provider of the current request, connection or task; else of the only application that runs here.

    Where several applications run in one process, code outside of their requests has OpenTelemetry's global provider,
    or none.
    """
    found: object = context_api.get_value(_PROVIDER)
    if isinstance(found, TracerProvider):
        return found
    running = _RUNNING
    return running[0] if len(running) == 1 else find_global_provider()
