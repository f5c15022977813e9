"""The settings of tracing."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from bandmaster.contrib.tracing.setting_checks import check_attributes, check_endpoint, check_headers
from bandmaster.contrib.web import compile_globs
from bandmaster.kernel import Settings

_Names = Annotated[tuple[str, ...], NoDecode]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

SECRET_HEADERS = frozenset(
    (
        "authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "x-api-key",
        "x-auth-token",
        "x-csrf-token",
        "x-xsrf-token",
    )
)
"""Headers that are never captured."""

ANYBODY = "*"
UNIX = "unix"


class TracingSettings(Settings):
    """Settings of tracing, read from variables that begin with ``TRACING_``. All times are in seconds.

    Where one of them isn't set, the standard variables of OpenTelemetry count; see `OpenTelemetrySettings`.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="TRACING_")

    enabled: bool | None = Field(
        default=None,
        description="Whether spans are made. Unset: where an exporter or an endpoint is set, here or by a standard "
        "variable of OpenTelemetry.",
    )
    exporter: Literal["otlp", "console", "none"] | None = Field(
        default=None,
        description="Where spans go: otlp sends them to a collector, console prints them (refused in production), none "
        "makes them for ids and propagation alone. Unset: OTEL_TRACES_EXPORTER, else otlp.",
    )
    protocol: Literal["http/protobuf", "grpc"] | None = Field(
        default=None,
        description="The protocol of OTLP; grpc needs the extra grpc. Unset: OTEL_EXPORTER_OTLP_TRACES_PROTOCOL or "
        "OTEL_EXPORTER_OTLP_PROTOCOL, else http/protobuf.",
    )
    endpoint: str | None = Field(
        default=None,
        description="The URL of the collector, such as http://collector:4318; a URL with a path is taken as it is, "
        "without one /v1/traces is added. Unset: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT, "
        "else this machine.",
    )
    headers: SecretStr | None = Field(
        default=None,
        description="Headers of each export, as name=value with commas in between; values are percent-encoded. Unset: "
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS or OTEL_EXPORTER_OTLP_HEADERS.",
    )
    timeout: _Seconds | None = Field(
        default=None,
        description="Seconds for one export with all its attempts. Unset: OTEL_EXPORTER_OTLP_TRACES_TIMEOUT or "
        "OTEL_EXPORTER_OTLP_TIMEOUT, else 10.",
    )
    compression: Literal["none", "gzip"] | None = Field(
        default=None,
        description="The compression of exports. Unset: OTEL_EXPORTER_OTLP_TRACES_COMPRESSION or "
        "OTEL_EXPORTER_OTLP_COMPRESSION, else none.",
    )
    certificate_file: Path | None = Field(
        default=None, description="The certificates of the authorities that the collector's certificate may be from."
    )
    client_certificate_file: Path | None = Field(default=None, description="The own certificate for the collector.")
    client_key_file: Path | None = Field(default=None, description="The key of the own certificate.")

    service_name: str | None = Field(
        default=None,
        description="service.name of all spans and metrics. Unset: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, the "
        "application's title or the name of its distribution.",
    )
    service_version: str | None = Field(
        default=None,
        description="service.version of all spans and metrics. Unset: OTEL_RESOURCE_ATTRIBUTES, the application's "
        "version or that of its distribution.",
    )
    resource_attributes: str = Field(
        default="",
        description="Further attributes of the resource, as name=value with commas in between; values are "
        "percent-encoded. They come before those of OTEL_RESOURCE_ATTRIBUTES.",
    )

    sample_rate: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None,
        description="The share of traces that begin here and are recorded, 0 to 1; a trusted caller's decision stands. "
        "Unset: OTEL_TRACES_SAMPLER, else 1.",
    )
    trusted_callers: _Names = Field(
        default=(),
        description="Callers whose traces go on here, whose sampling counts and whose baggage is taken: addresses and "
        "networks (10.0.0.0/8), unix for callers without an address, * for everybody. The requests of all others begin "
        "traces of their own, which link to the callers'.",
    )
    exclude: _Names = Field(default=(), description="Globs of paths that make no spans, such as /static/*.")
    request_headers: _Names = Field(
        default=(),
        description="Request headers that spans have as attributes. Headers with secrets, such as Authorization and "
        "Cookie, are refused.",
    )
    response_headers: _Names = Field(
        default=(), description="Response headers that spans have as attributes; Set-Cookie is refused."
    )
    response_header: Literal["off", "traceresponse", "x-trace-id"] = Field(
        default="off",
        description="The response header that names the trace: traceresponse in the format of W3C, x-trace-id with the "
        "id alone.",
    )
    kernel_spans: bool = Field(
        default=True, description="Make spans of the application's own start and stop and of its background services."
    )
    provider: Literal["private", "set_global", "use_global"] = Field(
        default="private",
        description="The provider of spans: private is this application's alone, set_global is also OpenTelemetry's "
        "global one, so that spans of libraries are exported too, use_global is the global one that another program, "
        "such as opentelemetry-instrument, has set.",
    )

    queue_size: PositiveInt | None = Field(
        default=None,
        description="The most spans that wait for their export; with more, the newest are dropped and counted. Unset: "
        "OTEL_BSP_MAX_QUEUE_SIZE, else 2048.",
    )
    batch_size: PositiveInt | None = Field(
        default=None, description="The most spans of one export. Unset: OTEL_BSP_MAX_EXPORT_BATCH_SIZE, else 512."
    )
    batch_delay: PositiveFloat | None = Field(
        default=None,
        description="Seconds until an incomplete batch is exported. Unset: OTEL_BSP_SCHEDULE_DELAY, else 5.",
    )
    stop_timeout: Annotated[float, Field(gt=0, le=60)] = Field(
        default=3,
        description="Seconds of the stop for exporting what is left, whatever the collector does; the rest is dropped.",
    )

    _check_headers = field_validator("headers")(check_headers)

    _check_attributes = field_validator("resource_attributes")(check_attributes)

    _check_endpoint = field_validator("endpoint")(check_endpoint)

    @field_validator("trusted_callers")
    @classmethod
    def _check_callers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if each not in (ANYBODY, UNIX):
                try:
                    ip_network(each)
                except ValueError as error:
                    raise ValueError(
                        f"{each!r} is neither an address nor a network ({error}); expected such as 10.0.0.0/8, "
                        f"2001:db8::/32, {UNIX} or {ANYBODY}"
                    ) from None
        if ANYBODY in value and len(value) > 1:
            raise ValueError(f"{ANYBODY} trusts everybody, so that naming others beside it means nothing")
        return value

    @field_validator("exclude")
    @classmethod
    def _check_globs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        compile_globs(value)
        return value

    @field_validator("request_headers", "response_headers")
    @classmethod
    def _check_captured(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(each.lower() for each in value)
        for name in names:
            if name in SECRET_HEADERS:
                raise ValueError(f"{name} has secrets and is never captured")
            if name == ANYBODY:
                raise ValueError(f"{ANYBODY} would capture secrets as well; name the headers")
        return names

    @model_validator(mode="after")
    def _check_together(self) -> TracingSettings:
        if self.client_key_file is not None and self.client_certificate_file is None:
            raise ValueError("client_key_file: needs client_certificate_file, the certificate of the key")
        if self.queue_size is not None and self.batch_size is not None and self.batch_size > self.queue_size:
            raise ValueError("batch_size: must not be above queue_size")
        return self
