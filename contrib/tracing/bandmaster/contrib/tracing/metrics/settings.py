"""The settings of metrics."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from bandmaster.contrib.tracing.setting_checks import check_endpoint, check_headers
from bandmaster.kernel import Settings

_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Bounds = Annotated[tuple[_Seconds, ...], NoDecode]

LONGEST_FOLDER = 80
"""The most bytes of the folder's path: the path of a Unix socket in the folder may have about 100."""
_SHORTEST_TOKEN = 16


class MetricsSettings(Settings):
    """Settings of metrics, read from variables that begin with ``METRICS_``. All times are in seconds.

    The service's name and further attributes are those of `TracingSettings`. Where a setting of the export isn't set,
    the standard variables of OpenTelemetry count.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="METRICS_")

    enabled: bool | None = Field(
        default=None,
        description="Whether metrics are made. Unset: where an exporter, an endpoint or a port is set, here or by a "
        "standard variable of OpenTelemetry.",
    )
    exporter: Literal["otlp", "console", "none"] | None = Field(
        default=None,
        description="Where metrics are sent: otlp sends them to a collector, console prints them (refused in "
        "production), none sends them nowhere, for Prometheus alone. Unset: OTEL_METRICS_EXPORTER, else otlp where an "
        "endpoint is set.",
    )
    protocol: Literal["http/protobuf", "grpc"] | None = Field(
        default=None,
        description="The protocol of OTLP; grpc needs the extra grpc. Unset: OTEL_EXPORTER_OTLP_METRICS_PROTOCOL or "
        "OTEL_EXPORTER_OTLP_PROTOCOL, else http/protobuf.",
    )
    endpoint: str | None = Field(
        default=None,
        description="The URL of the collector, such as http://collector:4318; a URL with a path is taken as it is, "
        "without one /v1/metrics is added. Unset: OTEL_EXPORTER_OTLP_METRICS_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT, "
        "else this machine.",
    )
    headers: SecretStr | None = Field(
        default=None,
        description="Headers of each export, as name=value with commas in between; values are percent-encoded. Unset: "
        "OTEL_EXPORTER_OTLP_METRICS_HEADERS or OTEL_EXPORTER_OTLP_HEADERS.",
    )
    timeout: _Seconds | None = Field(
        default=None,
        description="Seconds for one export with all its attempts. Unset: OTEL_EXPORTER_OTLP_METRICS_TIMEOUT or "
        "OTEL_EXPORTER_OTLP_TIMEOUT, else 10.",
    )
    compression: Literal["none", "gzip"] | None = Field(
        default=None,
        description="The compression of exports. Unset: OTEL_EXPORTER_OTLP_METRICS_COMPRESSION or "
        "OTEL_EXPORTER_OTLP_COMPRESSION, else none.",
    )
    certificate_file: Path | None = Field(
        default=None, description="The certificates of the authorities that the collector's certificate may be from."
    )
    client_certificate_file: Path | None = Field(default=None, description="The own certificate for the collector.")
    client_key_file: Path | None = Field(default=None, description="The key of the own certificate.")
    interval: _Seconds | None = Field(
        default=None, description="Seconds between two exports. Unset: OTEL_METRIC_EXPORT_INTERVAL, else 60."
    )
    stop_timeout: Annotated[float, Field(gt=0, le=60)] = Field(
        default=3,
        description="Seconds of the stop for the last export, whatever the collector does.",
    )
    provider: Literal["private", "set_global", "use_global"] = Field(
        default="private",
        description="The provider of metrics: private is this application's alone, set_global is also OpenTelemetry's "
        "global one, so that metrics of libraries are exported too, use_global is the global one that another program, "
        "such as opentelemetry-instrument, has set.",
    )

    request_buckets: _Bounds = Field(
        default=(),
        description="The boundaries of the buckets for the duration of requests, in seconds with commas in between. "
        "Unset: those of OpenTelemetry's conventions, 0.005 to 10.",
    )
    series_limit: PositiveInt = Field(
        default=2000,
        description="The most label sets of one metric; all further ones are counted in one series with the label "
        "otel_metric_overflow.",
    )
    queue_interval: _Seconds = Field(
        default=15, description="Seconds between two readings of the queue's depth, its age and its dead letters."
    )

    port: Annotated[int, Field(ge=0, le=65535)] | None = Field(
        default=None, description="The port of the endpoint for Prometheus, which needs the extra prometheus."
    )
    host: str = Field(default="127.0.0.1", description="The address of that port; 0.0.0.0 for all interfaces.")
    path: str = Field(default="/metrics", description="The path of the endpoint on that port.")
    application_path: str | None = Field(
        default=None,
        description="A path of the endpoint on the application's own port, such as /metrics. That port is public as a "
        "rule, so a token is needed. Unset: the endpoint isn't there.",
    )
    token: SecretStr | None = Field(
        default=None, description="The bearer token that scrapes must have, 16 characters or more."
    )
    folder: Path | None = Field(
        default=None,
        description="A folder that all processes of the application share: a scrape of one collects from all. Unset: a "
        "folder for the processes of this user with the same port.",
    )
    scrape_timeout: _Seconds = Field(
        default=5,
        description="Seconds that a scrape waits for the other processes; those without an answer are left out.",
    )

    _check_headers = field_validator("headers")(check_headers)

    _check_endpoint = field_validator("endpoint")(check_endpoint)

    @field_validator("request_buckets")
    @classmethod
    def _check_buckets(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(later <= earlier for earlier, later in itertools.pairwise(value)):
            raise ValueError("the boundaries must grow from each to the next")
        return value

    @field_validator("path", "application_path")
    @classmethod
    def _check_path(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("/"):
            raise ValueError("expected a path that begins with /")
        return value

    @field_validator("token")
    @classmethod
    def _check_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < _SHORTEST_TOKEN:
            raise ValueError(f"expected {_SHORTEST_TOKEN} characters or more, such as of `openssl rand -hex 32`")
        return value

    @field_validator("folder")
    @classmethod
    def _check_folder(cls, value: Path | None) -> Path | None:
        if value is not None:
            value = value.absolute()
            if len(str(value).encode()) > LONGEST_FOLDER:
                raise ValueError(f"is longer than {LONGEST_FOLDER} bytes; Unix sockets in it would have no room")
        return value

    @model_validator(mode="after")
    def _check_together(self) -> MetricsSettings:
        if self.client_key_file is not None and self.client_certificate_file is None:
            raise ValueError("client_key_file: needs client_certificate_file, the certificate of the key")
        if self.application_path is not None and self.token is None:
            raise ValueError("application_path: needs a token, since the application's port is public as a rule")
        if self.serves_scrapes:
            if self.provider == "use_global":
                raise ValueError("provider: use_global has no endpoint for Prometheus; the other program has one")
            if importlib.util.find_spec("prometheus_client") is None:
                raise ValueError("port: needs an extra: pip install 'bandmaster-tracing[prometheus]'")
        return self

    @property
    def serves_scrapes(self) -> bool:
        """Whether there is an endpoint for Prometheus."""
        return self.port is not None or self.application_path is not None
