"""The standard variables of OpenTelemetry that tracing reads where its own settings aren't set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt, SecretStr, field_validator

from bandmaster.contrib.tracing.setting_checks import check_attributes, check_endpoint, check_headers
from bandmaster.kernel import Settings


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Protocol = Annotated[Literal["http/protobuf", "grpc"], BeforeValidator(_lower)]
_Compression = Annotated[Literal["none", "gzip"], BeforeValidator(_lower)]
_Sampler = Annotated[
    Literal[
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ],
    BeforeValidator(_lower),
]


class OpenTelemetrySettings(Settings):
    """The standard variables of OpenTelemetry, by the names and in the units of its specification for Python.

    Settings of bandmaster have precedence: ``TRACING_ENDPOINT`` over ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``, and that
    over ``OTEL_EXPORTER_OTLP_ENDPOINT``. The plan names the variable that has won.
    """

    # The fields have the prefix themselves: OTEL_PYTHON_... and others are read by other programs, and a prefix would
    # have `bandmaster check` warn of them.
    otel_sdk_disabled: bool = Field(default=False, description="Make no spans, metrics and logs by OpenTelemetry.")
    otel_service_name: str | None = Field(default=None, description="service.name of all spans and metrics.")
    otel_resource_attributes: str = Field(
        default="", description="Attributes of the resource, as name=value with commas in between."
    )
    otel_traces_exporter: Annotated[Literal["otlp", "console", "none"], BeforeValidator(_lower)] | None = Field(
        default=None, description="Where spans go."
    )
    otel_propagators: str = Field(
        default="tracecontext,baggage",
        description="The formats in which traces come and go: tracecontext, baggage, the name of an installed "
        "propagator, or none.",
    )
    otel_traces_sampler: _Sampler | None = Field(default=None, description="Which traces are recorded.")
    otel_traces_sampler_arg: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="The share of traces for the samplers by ratio."
    )

    otel_exporter_otlp_endpoint: str | None = Field(
        default=None, description="The URL of the collector; the path of each signal is added."
    )
    otel_exporter_otlp_traces_endpoint: str | None = Field(default=None, description="The whole URL for spans.")
    otel_exporter_otlp_headers: SecretStr | None = Field(default=None, description="Headers of each export.")
    otel_exporter_otlp_traces_headers: SecretStr | None = Field(
        default=None, description="Headers of each export of spans."
    )
    otel_exporter_otlp_timeout: _Seconds | None = Field(default=None, description="Seconds for an export.")
    otel_exporter_otlp_traces_timeout: _Seconds | None = Field(
        default=None, description="Seconds for an export of spans."
    )
    otel_exporter_otlp_protocol: _Protocol | None = Field(default=None, description="The protocol of exports.")
    otel_exporter_otlp_traces_protocol: _Protocol | None = Field(
        default=None, description="The protocol of the export of spans."
    )
    otel_exporter_otlp_compression: _Compression | None = Field(default=None, description="The compression of exports.")
    otel_exporter_otlp_traces_compression: _Compression | None = Field(
        default=None, description="The compression of exports of spans."
    )
    otel_exporter_otlp_certificate: Path | None = Field(
        default=None, description="The certificates that the collector is verified with."
    )
    otel_exporter_otlp_traces_certificate: Path | None = Field(
        default=None, description="The certificates that the collector of spans is verified with."
    )
    otel_exporter_otlp_client_certificate: Path | None = Field(default=None, description="The own certificate.")
    otel_exporter_otlp_traces_client_certificate: Path | None = Field(
        default=None, description="The own certificate for spans."
    )
    otel_exporter_otlp_client_key: Path | None = Field(default=None, description="The key of the own certificate.")
    otel_exporter_otlp_traces_client_key: Path | None = Field(
        default=None, description="The key of the own certificate for spans."
    )

    otel_bsp_schedule_delay: _Milliseconds | None = Field(
        default=None, description="Milliseconds until an incomplete batch is exported."
    )
    otel_bsp_max_queue_size: PositiveInt | None = Field(
        default=None, description="The most spans that wait for their export."
    )
    otel_bsp_max_export_batch_size: PositiveInt | None = Field(
        default=None, description="The most spans of one export."
    )
    otel_attribute_value_length_limit: NonNegativeInt | None = Field(
        default=None, description="The most characters of an attribute."
    )
    otel_attribute_count_limit: NonNegativeInt | None = Field(default=None, description="The most attributes.")
    otel_span_attribute_value_length_limit: NonNegativeInt | None = Field(
        default=None, description="The most characters of an attribute of a span."
    )
    otel_span_attribute_count_limit: NonNegativeInt | None = Field(
        default=None, description="The most attributes of a span."
    )
    otel_span_event_count_limit: NonNegativeInt | None = Field(default=None, description="The most events of a span.")
    otel_span_link_count_limit: NonNegativeInt | None = Field(default=None, description="The most links of a span.")

    _check_headers = field_validator("otel_exporter_otlp_headers", "otel_exporter_otlp_traces_headers")(check_headers)

    _check_attributes = field_validator("otel_resource_attributes")(check_attributes)

    _check_endpoint = field_validator("otel_exporter_otlp_endpoint", "otel_exporter_otlp_traces_endpoint")(
        check_endpoint
    )
