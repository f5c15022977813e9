"""OpenTelemetry's global provider of meters: which one that is, and how ours becomes it while the application runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import metrics
from opentelemetry.metrics import Meter, MeterProvider, NoOpMeterProvider
from opentelemetry.metrics import _internal as internals
from opentelemetry.util.types import Attributes

from bandmaster.contrib.tracing.global_provider import describe_owner

__all__ = ["describe_global", "find_foreign_provider", "set_global"]

_NOTHING = NoOpMeterProvider()


class ReplaceableMeterProvider(MeterProvider):
    """The global provider: whichever runs at the moment, and none after the stop.

    OpenTelemetry's global provider can be set once in a process. So this one is set, and the applications that run one
    after the other take turns in it. Meters that libraries have kept stay with the application that ran then.
    """

    def __init__(self) -> None:
        self.providers: list[MeterProvider] = []
        """The providers of running applications; the last counts."""

    def get_meter(
        self,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes | None = None,
    ) -> Meter:
        """A meter of the provider of the moment."""
        current = self.providers[-1] if self.providers else _NOTHING
        return current.get_meter(name, version, schema_url, attributes)


@contextmanager
def set_global(provider: MeterProvider) -> Iterator[bool]:
    """Make a provider the global one until the block ends. False if another program has set one, which stays."""
    shared = find_global_provider()
    if shared is None:
        shared = ReplaceableMeterProvider()
        # Before it is set: meters that libraries have made already get their real ones at that moment.
        shared.providers.append(provider)
        metrics.set_meter_provider(shared)
    elif isinstance(shared, ReplaceableMeterProvider):
        shared.providers.append(provider)
    else:
        yield False
        return
    try:
        yield True
    finally:
        shared.providers.remove(provider)


def find_foreign_provider() -> MeterProvider | None:
    """The global provider that another program has set, such as ``opentelemetry-instrument``."""
    provider = find_global_provider()
    return None if provider is None or isinstance(provider, ReplaceableMeterProvider) else provider


def find_global_provider() -> MeterProvider | None:
    """The global provider, if one was set. The public function would set one itself, from a variable."""
    provider: MeterProvider | None = internals._METER_PROVIDER  # noqa: SLF001
    return provider


def describe_global() -> str:
    """Whose provider is global at this moment, as a part of a sentence."""
    return describe_owner(find_foreign_provider())
