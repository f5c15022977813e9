"""Make the exporter of metrics that the configuration names."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import Counter, Histogram, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, ConsoleMetricExporter, MetricExporter

from bandmaster.contrib.tracing.addresses import hide_userinfo
from bandmaster.contrib.tracing.export.otlp import make_grpc_arguments, make_http_arguments
from bandmaster.contrib.tracing.metrics.configuration import MetricsConfiguration, Temporality

__all__ = ["AbortableMetricExporter", "make_exporter"]


@dataclass(frozen=True, slots=True)
class AbortableMetricExporter:
    """An exporter, and a function that ends an export under way from another thread."""

    exporter: MetricExporter
    abort: Callable[[], None]
    address: str
    """Where metrics go, for log events. Without a password."""


def make_exporter(configuration: MetricsConfiguration) -> AbortableMetricExporter | None:
    """Make the exporter; None if metrics are sent nowhere. Nothing is connected to.

    Raises:
        ExporterRefusedError: the extra for the protocol isn't installed, or a file of TLS can't be read.
    """
    if configuration.exporter.value == "none":
        return None
    if configuration.exporter.value == "console":
        return AbortableMetricExporter(ConsoleMetricExporter(out=sys.stdout), lambda: None, "standard output")
    if configuration.protocol.value == "grpc":
        return _make_grpc_exporter(configuration)
    return _make_http_exporter(configuration)


def _make_http_exporter(configuration: MetricsConfiguration) -> AbortableMetricExporter:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    from bandmaster.contrib.tracing.export.abortable_session import make_session

    session, connections = make_session()
    exporter = OTLPMetricExporter(
        **make_http_arguments(configuration, session),
        preferred_temporality=make_temporality(configuration.temporality),
        meter_provider=NoOpMeterProvider(),
    )

    def abort() -> None:
        exporter.shutdown()  # a pause between two attempts ends
        session.adapters.clear()  # the exporter would send once more at once, when its connection is lost
        connections.end()

    return AbortableMetricExporter(exporter, abort, hide_userinfo(configuration.endpoint.value))


def _make_grpc_exporter(configuration: MetricsConfiguration) -> AbortableMetricExporter:
    arguments = make_grpc_arguments(configuration)
    # Here, since the extra may not be installed.
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

    exporter = OTLPMetricExporter(
        **arguments,
        preferred_temporality=make_temporality(configuration.temporality),
        meter_provider=NoOpMeterProvider(),
    )
    return AbortableMetricExporter(exporter, exporter.shutdown, hide_userinfo(configuration.endpoint.value))


def make_temporality(preference: Temporality) -> dict[type, AggregationTemporality]:
    """The temporality of each kind of instrument for a preference of OpenTelemetry's specification for OTLP."""
    delta, cumulative = AggregationTemporality.DELTA, AggregationTemporality.CUMULATIVE
    if preference == "cumulative":
        return {Counter: cumulative, Histogram: cumulative, ObservableCounter: cumulative}
    return {
        Counter: delta,
        Histogram: delta,
        ObservableCounter: delta if preference == "delta" else cumulative,
    }
