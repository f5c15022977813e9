"""Decide how spans are made and exported: the own settings first, then the standard variables. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from bandmaster.contrib.tracing.choices import (
    Candidates,
    Choice,
    ExportConfiguration,
    Protocol,
    choose,
    choose_endpoint,
    choose_headers,
    choose_tls,
    to_seconds,
)
from bandmaster.contrib.tracing.settings import TracingSettings
from bandmaster.contrib.tracing.standard_settings import OpenTelemetrySettings

_TRACES_PATH = "/v1/traces"


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which traces are recorded."""

    ratio: float
    """The share of traces, 0 to 1."""
    follows_parent: bool
    """Whether the decision of a trusted caller stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingConfiguration(ExportConfiguration):
    """All that a provider of spans needs, each value with the variable that it is from."""

    sampling: Choice[Sampling]
    queue_size: Choice[int]
    batch_size: Choice[int]
    batch_delay: Choice[float]


def configure(settings: TracingSettings, standard: OpenTelemetrySettings) -> TracingConfiguration:
    """Choose every value from the settings and the standard variables."""

    def candidates(field: str, *names: str) -> Candidates:
        # None of the standard fields has a default but None, so a value is one that is set.
        return [
            (settings.variable(field), getattr(settings, field)),
            *((standard.variable(name), getattr(standard, name)) for name in names),
        ]

    def of_export(field: str, name: str = "") -> Candidates:
        name = name or field
        return candidates(field, f"otel_exporter_otlp_traces_{name}", f"otel_exporter_otlp_{name}")

    protocol: Choice[Protocol] = choose("http/protobuf", of_export("protocol"))
    delay = "otel_bsp_schedule_delay"
    return TracingConfiguration(
        exporter=choose("otlp", candidates("exporter", "otel_traces_exporter")),
        protocol=protocol,
        endpoint=choose_endpoint(of_export("endpoint"), protocol.value, _TRACES_PATH),
        headers=choose_headers(of_export("headers")),
        timeout=choose(10.0, of_export("timeout")),
        compression=choose("none", of_export("compression")),
        tls=choose_tls(
            of_export("certificate_file", "certificate"),
            of_export("client_certificate_file", "client_certificate"),
            of_export("client_key_file", "client_key"),
        ),
        sampling=_choose_sampling(settings, standard),
        queue_size=choose(2048, candidates("queue_size", "otel_bsp_max_queue_size")),
        batch_size=choose(512, candidates("batch_size", "otel_bsp_max_export_batch_size")),
        batch_delay=choose(
            5.0, [*candidates("batch_delay"), (standard.variable(delay), to_seconds(standard.otel_bsp_schedule_delay))]
        ),
    )


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
