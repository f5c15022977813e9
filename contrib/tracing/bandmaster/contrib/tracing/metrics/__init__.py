"""Metrics by OpenTelemetry: requests, tasks, pools and components, by OTLP and for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.kernel import export_lazily

if TYPE_CHECKING:
    from bandmaster.contrib.tracing.metrics.checks import metrics_settings as metrics_settings
    from bandmaster.contrib.tracing.metrics.component import metrics as metrics
    from bandmaster.contrib.tracing.metrics.component import runtime_metrics as runtime_metrics
    from bandmaster.contrib.tracing.metrics.endpoint_component import EndpointRefusedError as EndpointRefusedError
    from bandmaster.contrib.tracing.metrics.endpoint_component import metrics_endpoint as metrics_endpoint
    from bandmaster.contrib.tracing.metrics.layer import MetricsLayer as MetricsLayer
    from bandmaster.contrib.tracing.metrics.requests import RequestMeasurement as RequestMeasurement
    from bandmaster.contrib.tracing.metrics.requests import RequestMetrics as RequestMetrics
    from bandmaster.contrib.tracing.metrics.scrapes import ScrapeEndpoint as ScrapeEndpoint
    from bandmaster.contrib.tracing.metrics.settings import MetricsSettings as MetricsSettings
    from bandmaster.contrib.tracing.metrics.standard_settings import (
        OpenTelemetryMetricsSettings as OpenTelemetryMetricsSettings,
    )
    from bandmaster.contrib.tracing.metrics.task_component import task_metrics as task_metrics

# A name is imported when it is first used: code that reads settings needs no SDK.
export_lazily(
    __name__,
    {
        "checks": ["metrics_settings"],
        "component": ["metrics", "runtime_metrics"],
        "endpoint_component": ["EndpointRefusedError", "metrics_endpoint"],
        "layer": ["MetricsLayer"],
        "requests": ["RequestMeasurement", "RequestMetrics"],
        "scrapes": ["ScrapeEndpoint"],
        "settings": ["MetricsSettings"],
        "standard_settings": ["OpenTelemetryMetricsSettings"],
        "task_component": ["task_metrics"],
    },
)
