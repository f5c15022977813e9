"""Applications with metrics, as the tests of the components run them."""

import http.client
from contextlib import closing

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse

from bandmaster.contrib.tracing import OpenTelemetrySettings, TracingSettings, trace_propagator, tracing
from bandmaster.contrib.tracing.metrics.component import metrics, runtime_metrics
from bandmaster.contrib.tracing.metrics.endpoint_component import metrics_endpoint
from bandmaster.contrib.tracing.metrics.layer import MetricsLayer
from bandmaster.contrib.tracing.metrics.settings import MetricsSettings
from bandmaster.contrib.tracing.metrics.standard_settings import OpenTelemetryMetricsSettings
from bandmaster.contrib.tracing.requests.layer import TracingLayer
from bandmaster.kernel import create_app

PARTS = (tracing, trace_propagator, metrics, metrics_endpoint, runtime_metrics, TracingLayer, MetricsLayer)
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def make_app(host=None, /, *, traces=False, parts=(), **settings):
    """An application with metrics by these settings, and traces that go nowhere if asked for."""
    return create_app(
        host,
        contributions=[*PARTS, *parts],
        discover=False,
        role="web",
        overrides={
            MetricsSettings: MetricsSettings(**settings),
            OpenTelemetryMetricsSettings: OpenTelemetryMetricsSettings(),
            OpenTelemetrySettings: OpenTelemetrySettings(),
            TracingSettings: TracingSettings(enabled=traces, exporter="none" if traces else None, service_name="shop"),
        },
    )


def ask(port, path="/metrics", **headers):
    """The status, the text and the headers of one request to the endpoint."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("GET", path, headers={"Accept": OPENMETRICS, **headers})
        response = connection.getresponse()
        return response.status, response.read().decode(), dict(response.getheaders())


def scrape(port, **headers):
    """All samples of one scrape."""
    status, text, _ = ask(port, **headers)
    assert status == 200, text
    return read_samples(text)


def read_samples(text):
    """The samples of a text."""
    return [sample for family in parse(text) for sample in family.samples]


def find(samples, name, **labels):
    """The samples of this name with these labels."""
    return [sample for sample in samples if sample.name == name and labels.items() <= sample.labels.items()]


def value_of(samples, name, **labels):
    """The value of the only sample of this name with these labels."""
    (sample,) = find(samples, name, **labels)
    return sample.value
