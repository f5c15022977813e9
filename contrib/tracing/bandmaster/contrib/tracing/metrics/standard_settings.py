"""The standard variables of OpenTelemetry about metrics, which are read where the own settings aren't set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from bandmaster.contrib.tracing.setting_checks import check_endpoint, check_headers
from bandmaster.kernel import Settings


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class OpenTelemetryMetricsSettings(Settings):
    """The standard variables of OpenTelemetry about metrics; those about all signals are in `OpenTelemetrySettings`."""

    # The fields have the prefix themselves, as those of `OpenTelemetrySettings` do.
    otel_metrics_exporter: Annotated[Literal["otlp", "console", "none"], BeforeValidator(_lower)] | None = Field(
        default=None, description="Where metrics are sent."
    )
    otel_metric_export_interval: _Positive | None = Field(
        default=None, description="Milliseconds between two exports of metrics."
    )
    otel_metrics_exemplar_filter: Annotated[
        Literal["always_on", "always_off", "trace_based"], BeforeValidator(_lower)
    ] = Field(default="trace_based", description="Which measurements may become exemplars.")
    otel_exporter_otlp_metrics_endpoint: str | None = Field(default=None, description="The whole URL for metrics.")
    otel_exporter_otlp_metrics_headers: SecretStr | None = Field(
        default=None, description="Headers of each export of metrics."
    )
    otel_exporter_otlp_metrics_timeout: _Positive | None = Field(
        default=None, description="Seconds for an export of metrics."
    )
    otel_exporter_otlp_metrics_protocol: Annotated[Literal["http/protobuf", "grpc"], BeforeValidator(_lower)] | None = (
        Field(default=None, description="The protocol of the export of metrics.")
    )
    otel_exporter_otlp_metrics_compression: Annotated[Literal["none", "gzip"], BeforeValidator(_lower)] | None = Field(
        default=None, description="The compression of exports of metrics."
    )
    otel_exporter_otlp_metrics_certificate: Path | None = Field(
        default=None, description="The certificates that the collector of metrics is verified with."
    )
    otel_exporter_otlp_metrics_client_certificate: Path | None = Field(
        default=None, description="The own certificate for metrics."
    )
    otel_exporter_otlp_metrics_client_key: Path | None = Field(
        default=None, description="The key of the own certificate for metrics."
    )
    otel_exporter_otlp_metrics_temporality_preference: Annotated[
        Literal["cumulative", "delta", "lowmemory"], BeforeValidator(_lower)
    ] = Field(default="cumulative", description="Whether exports have sums since the start, or since the last export.")

    _check_headers = field_validator("otel_exporter_otlp_metrics_headers")(check_headers)

    _check_endpoint = field_validator("otel_exporter_otlp_metrics_endpoint")(check_endpoint)
