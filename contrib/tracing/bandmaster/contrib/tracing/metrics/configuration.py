"""Decide how metrics are exported: the own settings first, then the standard variables. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from bandmaster.contrib.tracing.choices import (
    Candidates,
    Choice,
    ExportConfiguration,
    Exporter,
    Protocol,
    choose,
    choose_endpoint,
    choose_headers,
    choose_tls,
    to_seconds,
)
from bandmaster.contrib.tracing.metrics.activation import exports_metrics
from bandmaster.contrib.tracing.metrics.settings import MetricsSettings
from bandmaster.contrib.tracing.metrics.standard_settings import OpenTelemetryMetricsSettings
from bandmaster.contrib.tracing.standard_settings import OpenTelemetrySettings

__all__ = ["MetricsConfiguration", "configure"]

Temporality: TypeAlias = Literal["cumulative", "delta", "lowmemory"]

_METRICS_PATH = "/v1/metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsConfiguration(ExportConfiguration):
    """All that an exporter of metrics needs, each value with its variable."""

    interval: Choice[float]
    temporality: Temporality
    exemplars: Literal["always_on", "always_off", "trace_based"]


def configure(
    settings: MetricsSettings, standard: OpenTelemetryMetricsSettings, general: OpenTelemetrySettings
) -> MetricsConfiguration:
    """Choose every value from the settings and the standard variables."""

    def of_export(field: str, name: str = "") -> Candidates:
        name = name or field
        specific, shared = f"otel_exporter_otlp_metrics_{name}", f"otel_exporter_otlp_{name}"
        return [
            (settings.variable(field), getattr(settings, field)),
            (standard.variable(specific), getattr(standard, specific)),
            (general.variable(shared), getattr(general, shared)),
        ]

    protocol: Choice[Protocol] = choose("http/protobuf", of_export("protocol"))
    interval = "otel_metric_export_interval"
    return MetricsConfiguration(
        exporter=_choose_exporter(settings, standard, general),
        protocol=protocol,
        endpoint=choose_endpoint(of_export("endpoint"), protocol.value, _METRICS_PATH),
        headers=choose_headers(of_export("headers")),
        timeout=choose(10.0, of_export("timeout")),
        compression=choose("none", of_export("compression")),
        tls=choose_tls(
            of_export("certificate_file", "certificate"),
            of_export("client_certificate_file", "client_certificate"),
            of_export("client_key_file", "client_key"),
        ),
        interval=choose(
            60.0,
            [
                (settings.variable("interval"), settings.interval),
                (standard.variable(interval), to_seconds(standard.otel_metric_export_interval)),
            ],
        ),
        temporality=standard.otel_exporter_otlp_metrics_temporality_preference,
        exemplars=standard.otel_metrics_exemplar_filter,
    )


def _choose_exporter(
    settings: MetricsSettings, standard: OpenTelemetryMetricsSettings, general: OpenTelemetrySettings
) -> Choice[Exporter]:
    choice: Choice[Exporter] = choose(
        "otlp" if exports_metrics(settings, standard, general) else "none",
        [
            (settings.variable("exporter"), settings.exporter),
            (standard.variable("otel_metrics_exporter"), standard.otel_metrics_exporter),
        ],
    )
    # An endpoint of our own says that metrics are to go there, whatever the standard variables say.
    if settings.exporter is None and settings.endpoint is not None and choice.value == "none":
        return Choice("otlp", settings.variable("endpoint"), (choice.source,))
    return choice
