"""Decide how metrics are exported: the own settings first, then the standard variables. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr

from bandmaster.contrib.tracing.configuration import (
    DEFAULT_GRPC_ENDPOINT,
    DEFAULT_HTTP_ENDPOINT,
    Choice,
    Compression,
    Exporter,
    Protocol,
    Tls,
)
from bandmaster.contrib.tracing.key_values import parse_key_values
from bandmaster.contrib.tracing.metrics.activation import exports_metrics
from bandmaster.contrib.tracing.metrics.settings import MetricsSettings
from bandmaster.contrib.tracing.metrics.standard_settings import OpenTelemetryMetricsSettings
from bandmaster.contrib.tracing.standard_settings import OpenTelemetrySettings

__all__ = ["MetricsConfiguration", "configure"]

Temporality: TypeAlias = Literal["cumulative", "delta", "lowmemory"]

_METRICS_PATH = "/v1/metrics"


@dataclass(frozen=True, slots=True)
class MetricsConfiguration:
    """All that an exporter of metrics needs, each value with its variable."""

    exporter: Choice[Exporter]
    protocol: Choice[Protocol]
    endpoint: Choice[str]
    """The whole URL, with the path."""
    headers: Choice[dict[str, str]]
    timeout: Choice[float]
    compression: Choice[Compression]
    tls: Choice[Tls]
    interval: Choice[float]
    temporality: Temporality
    exemplars: Literal["always_on", "always_off", "trace_based"]

    def describe_conflicts(self) -> Iterator[str]:
        """A line for each value that is set more than once."""
        for field in fields(self):
            choice = getattr(self, field.name)
            if isinstance(choice, Choice) and choice.overruled:
                yield f"{choice.source} is set, so {' and '.join(choice.overruled)} doesn't count"


def configure(
    settings: MetricsSettings, standard: OpenTelemetryMetricsSettings, general: OpenTelemetrySettings
) -> MetricsConfiguration:
    """Choose every value from the settings and the standard variables."""

    def candidates(field: str, standard_name: str = "") -> _Candidates:
        name = standard_name or field
        specific, shared = f"otel_exporter_otlp_metrics_{name}", f"otel_exporter_otlp_{name}"
        return [
            (settings.variable(field), getattr(settings, field)),
            (standard.variable(specific), getattr(standard, specific)),
            (general.variable(shared), getattr(general, shared)),
        ]

    protocol: Choice[Protocol] = _choose("http/protobuf", candidates("protocol"))
    return MetricsConfiguration(
        exporter=_choose_exporter(settings, standard, general),
        protocol=protocol,
        endpoint=_choose_endpoint(candidates("endpoint"), protocol.value),
        headers=_choose_headers(candidates("headers")),
        timeout=_choose(10.0, candidates("timeout")),
        compression=_choose("none", candidates("compression")),
        tls=_choose_tls(
            _choose(None, candidates("certificate_file", "certificate")),
            _choose(None, candidates("client_certificate_file", "client_certificate")),
            _choose(None, candidates("client_key_file", "client_key")),
        ),
        interval=_choose_interval(settings, standard),
        temporality=standard.otel_exporter_otlp_metrics_temporality_preference,
        exemplars=standard.otel_metrics_exemplar_filter,
    )


_Candidates: TypeAlias = list[tuple[str, object]]
_T = TypeVar("_T")


def _choose(default: _T, candidates: _Candidates) -> Choice[_T]:
    found = [(name, value) for name, value in candidates if value is not None]
    if not found:
        return Choice(default)
    (source, value), *others = found
    # The same value twice is no conflict.
    overruled = tuple(name for name, other in others if other != value)
    return Choice(value, source, overruled)  # type: ignore[arg-type]  # the settings types check the values


def _choose_exporter(
    settings: MetricsSettings, standard: OpenTelemetryMetricsSettings, general: OpenTelemetrySettings
) -> Choice[Exporter]:
    choice: Choice[Exporter] = _choose(
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


def _choose_endpoint(candidates: _Candidates, protocol: Protocol) -> Choice[str]:
    own, _, shared = (name for name, _ in candidates)
    if protocol == "grpc":
        return _choose(DEFAULT_GRPC_ENDPOINT, candidates)
    choice = _choose(DEFAULT_HTTP_ENDPOINT, candidates)
    # The standard variable of the signal is taken as it is; to a base URL the path of the signal is added.
    if choice.source in ("", shared) or (choice.source == own and urlsplit(choice.value).path in ("", "/")):
        return Choice(f"{choice.value.removesuffix('/')}{_METRICS_PATH}", choice.source, choice.overruled)
    return choice


def _choose_headers(candidates: _Candidates) -> Choice[dict[str, str]]:
    choice: Choice[SecretStr | None] = _choose(None, candidates)
    text = "" if choice.value is None else choice.value.get_secret_value()
    headers = {name.lower(): value for name, value in parse_key_values(text).items()}
    return Choice(headers, choice.source, choice.overruled)


def _choose_tls(*files: Choice[Path | None]) -> Choice[Tls]:
    source = next((one.source for one in files if one.source), "")
    authorities, certificate, key = (one.value for one in files)
    return Choice(Tls(authorities, certificate, key), source, tuple(name for one in files for name in one.overruled))


def _choose_interval(settings: MetricsSettings, standard: OpenTelemetryMetricsSettings) -> Choice[float]:
    name = "otel_metric_export_interval"
    milliseconds = standard.otel_metric_export_interval
    return _choose(
        60.0,
        [
            (settings.variable("interval"), settings.interval),
            (standard.variable(name), None if milliseconds is None else milliseconds / 1000),
        ],
    )
