"""Decide how spans are made and exported: the own settings first, then the standard variables. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Generic, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr

from bandmaster.contrib.tracing.key_values import parse_key_values
from bandmaster.contrib.tracing.settings import TracingSettings
from bandmaster.contrib.tracing.standard_settings import OpenTelemetrySettings

_T = TypeVar("_T")

DEFAULT_HTTP_ENDPOINT = "http://localhost:4318"
DEFAULT_GRPC_ENDPOINT = "http://localhost:4317"
_TRACES_PATH = "/v1/traces"

Exporter: TypeAlias = Literal["otlp", "console", "none"]
Protocol: TypeAlias = Literal["http/protobuf", "grpc"]
Compression: TypeAlias = Literal["none", "gzip"]


@dataclass(frozen=True, slots=True)
class Choice(Generic[_T]):
    """A value and the source, a variable."""

    value: _T
    source: str = ""
    """The variable; empty for a default."""
    overruled: tuple[str, ...] = ()
    """Further variables that are set for the same, and don't count."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which traces are recorded."""

    ratio: float
    """The share of traces, 0 to 1."""
    follows_parent: bool
    """Whether the decision of a trusted caller stands."""


@dataclass(frozen=True, slots=True)
class Tls:
    """The files by which the collector and this process verify each other."""

    authorities: Path | None
    certificate: Path | None
    key: Path | None


@dataclass(frozen=True, slots=True)
class TracingConfiguration:
    """All that a provider of spans needs, each value with the variable that it is from."""

    exporter: Choice[Exporter]
    protocol: Choice[Protocol]
    endpoint: Choice[str]
    """The whole URL, with the path."""
    headers: Choice[dict[str, str]]
    timeout: Choice[float]
    compression: Choice[Compression]
    tls: Choice[Tls]
    sampling: Choice[Sampling]
    queue_size: Choice[int]
    batch_size: Choice[int]
    batch_delay: Choice[float]

    def describe_conflicts(self) -> Iterator[str]:
        """A line for each value that is set more than once."""
        for field in fields(self):
            choice: Choice[object] = getattr(self, field.name)
            if choice.overruled:
                verb = "don't count" if len(choice.overruled) > 1 else "doesn't count"
                yield f"{choice.source} is set, so {' and '.join(choice.overruled)} {verb}"


def configure(settings: TracingSettings, standard: OpenTelemetrySettings) -> TracingConfiguration:
    """Choose every value from the settings and the standard variables."""
    protocol: Choice[Protocol] = _choose(
        "http/protobuf",
        _own(settings, "protocol"),
        _std(standard, "otel_exporter_otlp_traces_protocol", "otel_exporter_otlp_protocol"),
    )
    return TracingConfiguration(
        exporter=_choose("otlp", _own(settings, "exporter"), _std(standard, "otel_traces_exporter")),
        protocol=protocol,
        endpoint=_choose_endpoint(settings, standard, protocol.value),
        headers=_choose_headers(settings, standard),
        timeout=_choose(
            10.0,
            _own(settings, "timeout"),
            _std(standard, "otel_exporter_otlp_traces_timeout", "otel_exporter_otlp_timeout"),
        ),
        compression=_choose(
            "none",
            _own(settings, "compression"),
            _std(standard, "otel_exporter_otlp_traces_compression", "otel_exporter_otlp_compression"),
        ),
        tls=_choose_tls(settings, standard),
        sampling=_choose_sampling(settings, standard),
        queue_size=_choose(2048, _own(settings, "queue_size"), _std(standard, "otel_bsp_max_queue_size")),
        batch_size=_choose(512, _own(settings, "batch_size"), _std(standard, "otel_bsp_max_export_batch_size")),
        batch_delay=_choose_delay(settings, standard),
    )


_Candidates: TypeAlias = list[tuple[str, object]]


def _own(settings: TracingSettings, field: str) -> _Candidates:
    return [(settings.variable(field), getattr(settings, field))]


def _std(standard: OpenTelemetrySettings, *names: str) -> _Candidates:
    # None of these fields has a default but None, so a value is one that is set.
    return [(standard.variable(name), getattr(standard, name)) for name in names]


def _choose(default: _T, *candidates: _Candidates) -> Choice[_T]:
    found = [(name, value) for group in candidates for name, value in group if value is not None]
    if not found:
        return Choice(default)
    (source, value), *others = found
    # The same value twice is no conflict.
    overruled = tuple(name for name, other in others if other != value)
    return Choice(value, source, overruled)  # type: ignore[arg-type]  # the settings types check the values


def _choose_endpoint(settings: TracingSettings, standard: OpenTelemetrySettings, protocol: Protocol) -> Choice[str]:
    default = DEFAULT_GRPC_ENDPOINT if protocol == "grpc" else DEFAULT_HTTP_ENDPOINT
    base = standard.variable("otel_exporter_otlp_endpoint")
    choice = _choose(
        default,
        _own(settings, "endpoint"),
        _std(standard, "otel_exporter_otlp_traces_endpoint", "otel_exporter_otlp_endpoint"),
    )
    if protocol == "grpc":
        return choice
    url = choice.value
    # OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is taken as it is; to a base URL the path of the signal is added.
    if choice.source in ("", base) or (
        choice.source == settings.variable("endpoint") and urlsplit(url).path in ("", "/")
    ):
        url = f"{url.removesuffix('/')}{_TRACES_PATH}"
    return Choice(url, choice.source, choice.overruled)


def _choose_headers(settings: TracingSettings, standard: OpenTelemetrySettings) -> Choice[dict[str, str]]:
    choice: Choice[SecretStr | None] = _choose(
        None,
        _own(settings, "headers"),
        _std(standard, "otel_exporter_otlp_traces_headers", "otel_exporter_otlp_headers"),
    )
    text = "" if choice.value is None else choice.value.get_secret_value()
    return Choice(
        {name.lower(): value for name, value in parse_key_values(text).items()}, choice.source, choice.overruled
    )


def _choose_tls(settings: TracingSettings, standard: OpenTelemetrySettings) -> Choice[Tls]:
    def choose(own: str, *names: str) -> Choice[Path | None]:
        return _choose(None, _own(settings, own), _std(standard, *names))

    files = [
        choose("certificate_file", "otel_exporter_otlp_traces_certificate", "otel_exporter_otlp_certificate"),
        choose(
            "client_certificate_file",
            "otel_exporter_otlp_traces_client_certificate",
            "otel_exporter_otlp_client_certificate",
        ),
        choose("client_key_file", "otel_exporter_otlp_traces_client_key", "otel_exporter_otlp_client_key"),
    ]
    source = next((one.source for one in files if one.source), "")
    return Choice(Tls(*(one.value for one in files)), source, tuple(name for one in files for name in one.overruled))


def _choose_sampling(settings: TracingSettings, standard: OpenTelemetrySettings) -> Choice[Sampling]:
    name, sampler = standard.variable("otel_traces_sampler"), standard.otel_traces_sampler
    if settings.sample_rate is not None:
        overruled = () if sampler is None else (name,)
        return Choice(Sampling(settings.sample_rate, follows_parent=True), settings.variable("sample_rate"), overruled)
    if sampler is None:
        return Choice(Sampling(1.0, follows_parent=True))
    argument = standard.otel_traces_sampler_arg
    kind = sampler.removeprefix("parentbased_")
    ratio = {"always_on": 1.0, "always_off": 0.0}.get(kind, 1.0 if argument is None else argument)
    return Choice(Sampling(ratio, follows_parent=sampler.startswith("parentbased_")), name)


def _choose_delay(settings: TracingSettings, standard: OpenTelemetrySettings) -> Choice[float]:
    milliseconds = standard.otel_bsp_schedule_delay
    return _choose(
        5.0,
        _own(settings, "batch_delay"),
        [(standard.variable("otel_bsp_schedule_delay"), None if milliseconds is None else milliseconds / 1000)],
    )
