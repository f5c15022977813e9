"""Make the provider of spans of OpenTelemetry's SDK, with the own pipeline behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import SpanLimits, TracerProvider

from bandmaster.contrib.tracing.configuration import configure
from bandmaster.contrib.tracing.export.exporters import make_exporter
from bandmaster.contrib.tracing.export.pipeline import open_queue
from bandmaster.contrib.tracing.opentelemetry_internals import enable_provider
from bandmaster.contrib.tracing.resource import make_resource
from bandmaster.contrib.tracing.sampling import make_sampler
from bandmaster.contrib.tracing.settings import TracingSettings
from bandmaster.contrib.tracing.standard_settings import OpenTelemetrySettings
from bandmaster.kernel import Redactor

MOST_CHARACTERS = 8192
"""The most characters of an attribute, unless a standard variable sets another limit."""


@contextmanager
def open_provider(
    settings: TracingSettings, standard: OpenTelemetrySettings, service: Mapping[str, str], redactor: Redactor
) -> Iterator[TracerProvider]:
    """A provider whose spans are exported as the settings say. The caller shuts the provider down, which may last.

    Nothing is connected to: an exporter connects at its first batch, in its own thread.

    Raises:
        ExporterRefusedError: the exporter can't be made with these settings.
    """
    configuration = configure(settings, standard)
    exporter = make_exporter(configuration)
    provider = TracerProvider(
        sampler=make_sampler(configuration.sampling.value),
        resource=make_resource(service),
        # An atexit handler would flush for as long as the collector takes, and the component has flushed by then.
        shutdown_on_exit=False,
        span_limits=_make_limits(standard),
        # Without one, the SDK would take the global provider of meters for metrics of its own.
        meter_provider=NoOpMeterProvider(),
    )
    enable_provider(provider)
    if exporter is None:
        yield provider
        return
    with open_queue(exporter, configuration, redactor, settings.stop_timeout) as queue:
        provider.add_span_processor(queue)
        yield provider


def _make_limits(standard: OpenTelemetrySettings) -> SpanLimits:
    length = standard.otel_attribute_value_length_limit
    return SpanLimits(
        max_attributes=standard.otel_attribute_count_limit,
        max_attribute_length=MOST_CHARACTERS if length is None else length,
        max_span_attributes=standard.otel_span_attribute_count_limit,
        max_span_attribute_length=standard.otel_span_attribute_value_length_limit,
        max_events=standard.otel_span_event_count_limit,
        max_links=standard.otel_span_link_count_limit,
    )
