"""The settings of metrics, and the decisions that they make."""

import pytest
from pydantic import SecretStr, ValidationError

from bandmaster.contrib.tracing import OpenTelemetrySettings, TracingSettings
from bandmaster.contrib.tracing.metrics.activation import (
    is_scraped,
    is_scraped_by_application,
    makes_metrics,
    traces_or_measures,
)
from bandmaster.contrib.tracing.metrics.configuration import configure
from bandmaster.contrib.tracing.metrics.settings import MetricsSettings
from bandmaster.contrib.tracing.metrics.standard_settings import OpenTelemetryMetricsSettings

TOKEN = SecretStr("0123456789abcdef")
COLLECTOR = "http://collector:4318"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """Only what a test passes is set."""
    import os

    for name in list(os.environ):
        if name.startswith(("OTEL_", "METRICS_", "TRACING_")):
            monkeypatch.delenv(name)


def decide(function, own=None, standard=None, general=None):
    return function(
        MetricsSettings(**own or {}),
        OpenTelemetryMetricsSettings(**standard or {}),
        OpenTelemetrySettings(**general or {}),
    )


@pytest.mark.parametrize(
    ("own", "standard", "general", "expected"),
    [
        ({}, {}, {}, False),
        ({"enabled": True}, {}, {}, True),
        ({"enabled": False, "port": 9464}, {}, {}, False),
        ({"port": 9464}, {}, {}, True),
        ({"port": 9464}, {}, {"otel_sdk_disabled": True}, True),
        ({"application_path": "/metrics", "token": TOKEN}, {}, {}, True),
        ({"endpoint": COLLECTOR}, {}, {}, True),
        ({"endpoint": COLLECTOR}, {}, {"otel_sdk_disabled": True}, False),
        ({"enabled": True}, {}, {"otel_sdk_disabled": True}, True),
        ({"exporter": "otlp"}, {}, {}, True),
        ({"exporter": "none"}, {}, {}, False),
        ({}, {"otel_metrics_exporter": "otlp"}, {}, True),
        ({}, {"otel_metrics_exporter": "none"}, {"otel_exporter_otlp_endpoint": COLLECTOR}, False),
        ({}, {"otel_exporter_otlp_metrics_endpoint": COLLECTOR}, {}, True),
        ({}, {}, {"otel_exporter_otlp_endpoint": COLLECTOR}, True),
        ({}, {}, {"otel_exporter_otlp_endpoint": COLLECTOR, "otel_sdk_disabled": True}, False),
    ],
)
@pytest.mark.requirement("OBS-T11")
def test_metrics_are_on_where_they_have_somewhere_to_go(own, standard, general, expected) -> None:
    """With nothing set there are none; a setting of our own has precedence over the standard variables."""
    assert expected == decide(makes_metrics, own, standard, general)


def test_the_endpoint_needs_a_setting_of_its_own() -> None:
    """A collector doesn't open a port, and a port doesn't open a path of the application."""
    assert (False, False) == (
        decide(is_scraped, {"endpoint": COLLECTOR}),
        decide(is_scraped_by_application, {"port": 9464}),
    )
    assert decide(is_scraped, {"port": 9464})
    assert not decide(is_scraped, {"port": 9464, "enabled": False})
    assert decide(is_scraped_by_application, {"application_path": "/metrics", "token": TOKEN})


def test_requests_are_measured_without_traces() -> None:
    """The layer is there for metrics alone, for traces alone, and not for neither."""

    def wants(metrics, tracing):
        return traces_or_measures(
            MetricsSettings(**metrics),
            OpenTelemetryMetricsSettings(),
            OpenTelemetrySettings(),
            TracingSettings(**tracing),
        )

    assert [True, True, False] == [wants({"port": 1}, {}), wants({}, {"enabled": True}), wants({}, {})]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"application_path": "/metrics"}, "application_path: needs a token"),
        ({"application_path": "metrics", "token": TOKEN}, "begins with /"),
        ({"path": "metrics"}, "begins with /"),
        ({"token": SecretStr("short")}, "16 characters or more"),
        ({"request_buckets": (1, 1)}, "must grow"),
        ({"request_buckets": (0,)}, "greater than 0"),
        ({"folder": "/" + "x" * 90}, "longer than 80 bytes"),
        ({"endpoint": "collector:4318"}, "http:// or https://"),
        ({"headers": SecretStr("no sign")}, "expected name=value"),
        ({"client_key_file": "key.pem"}, "needs client_certificate_file"),
        ({"port": 9464, "provider": "use_global"}, "use_global has no endpoint"),
        ({"series_limit": 0}, "greater than 0"),
        ({"port": 70000}, "less than or equal to 65535"),
    ],
)
@pytest.mark.requirement("OBS-M7")
def test_wrong_settings_are_refused(settings, message) -> None:
    """The error names the setting and what is expected, and no secret."""
    with pytest.raises(ValidationError, match=message) as caught:
        MetricsSettings(**settings)
    assert "short" not in str(caught.value)


def test_a_port_needs_the_extra(monkeypatch) -> None:
    """Without prometheus-client the error says how to install it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValidationError, match=r"pip install 'bandmaster-tracing\[prometheus\]'"):
        MetricsSettings(port=9464)


def test_buckets_from_the_environment(monkeypatch) -> None:
    """Boundaries are written with commas in between."""
    monkeypatch.setenv("METRICS_REQUEST_BUCKETS", "0.1,0.5, 2")
    assert (0.1, 0.5, 2) == MetricsSettings().request_buckets


@pytest.mark.requirement("OBS-T11")
def test_the_defaults() -> None:
    """OTLP over HTTP to this machine, every minute."""
    found = decide(configure, {"enabled": True})
    assert ("none", "http://localhost:4318/v1/metrics", "http/protobuf", 60, 10) == (
        found.exporter.value,
        found.endpoint.value,
        found.protocol.value,
        found.interval.value,
        found.timeout.value,
    )


@pytest.mark.parametrize(
    ("own", "standard", "general", "expected", "source"),
    [
        ({"endpoint": COLLECTOR}, {}, {}, f"{COLLECTOR}/v1/metrics", "METRICS_ENDPOINT"),
        ({"endpoint": f"{COLLECTOR}/"}, {}, {}, f"{COLLECTOR}/v1/metrics", "METRICS_ENDPOINT"),
        ({"endpoint": f"{COLLECTOR}/in"}, {}, {}, f"{COLLECTOR}/in", "METRICS_ENDPOINT"),
        (
            {},
            {"otel_exporter_otlp_metrics_endpoint": COLLECTOR},
            {"otel_exporter_otlp_endpoint": "http://other:1"},
            COLLECTOR,
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        ),
        ({}, {}, {"otel_exporter_otlp_endpoint": COLLECTOR}, f"{COLLECTOR}/v1/metrics", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"protocol": "grpc", "enabled": True}, {}, {}, "http://localhost:4317", ""),
    ],
)
@pytest.mark.requirement("OBS-T11")
def test_the_endpoint_of_the_collector(own, standard, general, expected, source) -> None:
    """The path of metrics is added to a base URL, and the more special variable wins."""
    choice = decide(configure, own, standard, general).endpoint
    assert (expected, source) == (choice.value, choice.source)


@pytest.mark.requirement("OBS-T11")
def test_conflicts_are_told() -> None:
    """The plan says which of two variables counts; the same value twice is none."""
    found = decide(
        configure,
        {"endpoint": COLLECTOR, "timeout": 5, "interval": 10},
        {"otel_exporter_otlp_metrics_timeout": 5, "otel_metric_export_interval": 20_000},
        {"otel_exporter_otlp_endpoint": "http://other:1"},
    )
    assert [
        "METRICS_ENDPOINT is set, so OTEL_EXPORTER_OTLP_ENDPOINT doesn't count",
        "METRICS_INTERVAL is set, so OTEL_METRIC_EXPORT_INTERVAL doesn't count",
    ] == list(found.describe_conflicts())


@pytest.mark.requirement("OBS-T11")
def test_standard_variables() -> None:
    """The standard variables count where ours aren't set; the interval is in milliseconds there."""
    found = decide(
        configure,
        {},
        {
            "otel_metrics_exporter": "otlp",
            "otel_metric_export_interval": 500,
            "otel_exporter_otlp_metrics_headers": SecretStr("Key=a%20b"),
            "otel_exporter_otlp_metrics_certificate": "ca.pem",
            "otel_exporter_otlp_metrics_temporality_preference": "delta",
        },
        {"otel_exporter_otlp_timeout": 3, "otel_exporter_otlp_compression": "gzip"},
    )
    assert ("otlp", 0.5, {"key": "a b"}, 3, "gzip", "delta", "ca.pem") == (
        found.exporter.value,
        found.interval.value,
        found.headers.value,
        found.timeout.value,
        found.compression.value,
        found.temporality,
        str(found.tls.value.authorities),
    )


def test_an_endpoint_of_our_own_overrules_no_exporter() -> None:
    """A collector that only METRICS_ENDPOINT names gets the metrics, whatever OTEL_METRICS_EXPORTER says."""
    found = decide(configure, {"endpoint": COLLECTOR}, {"otel_metrics_exporter": "none"}).exporter
    assert ("otlp", "METRICS_ENDPOINT", ("OTEL_METRICS_EXPORTER",)) == (found.value, found.source, found.overruled)
