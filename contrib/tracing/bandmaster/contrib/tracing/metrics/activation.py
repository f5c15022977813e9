"""Decide from the settings whether metrics are made and where they go. Pure."""

from __future__ import annotations

from bandmaster.contrib.tracing.activation import makes_spans
from bandmaster.contrib.tracing.metrics.settings import MetricsSettings
from bandmaster.contrib.tracing.metrics.standard_settings import OpenTelemetryMetricsSettings
from bandmaster.contrib.tracing.settings import TracingSettings
from bandmaster.contrib.tracing.standard_settings import OpenTelemetrySettings

__all__ = ["is_scraped", "is_scraped_by_application", "makes_metrics", "traces_or_measures"]


def makes_metrics(
    settings: MetricsSettings, standard: OpenTelemetryMetricsSettings, general: OpenTelemetrySettings
) -> bool:
    """Whether metrics are made: a setting says so, or says where metrics are to go.

    ``METRICS_ENABLED`` comes first. A port or a path for Prometheus and another program's provider switch
    metrics on. Otherwise ``OTEL_SDK_DISABLED`` and ``OTEL_METRICS_EXPORTER=none`` switch metrics off, and an exporter
    or an endpoint switches them on.
    """
    if settings.enabled is not None:
        return settings.enabled
    if settings.serves_scrapes or settings.provider == "use_global":
        return True
    if general.otel_sdk_disabled:
        return False
    return exports_metrics(settings, standard, general)


def traces_or_measures(
    settings: MetricsSettings,
    standard: OpenTelemetryMetricsSettings,
    general: OpenTelemetrySettings,
    tracing: TracingSettings,
) -> bool:
    """Whether requests are traced or measured; one layer does both."""
    return makes_spans(tracing, general) or makes_metrics(settings, standard, general)


def exports_metrics(
    settings: MetricsSettings, standard: OpenTelemetryMetricsSettings, general: OpenTelemetrySettings
) -> bool:
    """Whether metrics are sent to a collector, or printed."""
    if settings.exporter is not None:
        return settings.exporter != "none"
    if settings.endpoint is not None:
        return True
    if general.otel_sdk_disabled:
        return False
    if standard.otel_metrics_exporter is not None:
        return standard.otel_metrics_exporter != "none"
    return bool(standard.otel_exporter_otlp_metrics_endpoint or general.otel_exporter_otlp_endpoint)


def is_scraped(
    settings: MetricsSettings, standard: OpenTelemetryMetricsSettings, general: OpenTelemetrySettings
) -> bool:
    """Whether there is an endpoint for Prometheus."""
    return settings.serves_scrapes and makes_metrics(settings, standard, general)


def is_scraped_by_application(
    settings: MetricsSettings, standard: OpenTelemetryMetricsSettings, general: OpenTelemetrySettings
) -> bool:
    """Whether the endpoint for Prometheus is on the application's own port too."""
    return settings.application_path is not None and makes_metrics(settings, standard, general)
