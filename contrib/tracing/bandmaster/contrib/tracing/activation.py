"""Decide from the settings whether spans are made. Pure."""

from __future__ import annotations

from bandmaster.contrib.tracing.settings import TracingSettings
from bandmaster.contrib.tracing.standard_settings import OpenTelemetrySettings


def makes_spans(settings: TracingSettings, standard: OpenTelemetrySettings) -> bool:
    """Whether spans are made: a setting says so, or says where spans are to go.

    ``TRACING_ENABLED`` decides where it is set. Otherwise ``OTEL_SDK_DISABLED`` and ``OTEL_TRACES_EXPORTER=none``
    switch spans off, and an exporter or an endpoint switches them on.
    """
    if settings.enabled is not None:
        return settings.enabled
    if standard.otel_sdk_disabled:
        return False
    if settings.exporter is not None or settings.endpoint is not None:
        return True
    if standard.otel_traces_exporter is not None:
        return standard.otel_traces_exporter != "none"
    return bool(standard.otel_exporter_otlp_traces_endpoint or standard.otel_exporter_otlp_endpoint)
