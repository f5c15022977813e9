"""The conversion of collected metrics to families, read back by Prometheus's own client library."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from bandmaster.contrib.tracing.metrics.catalogue import SCOPE
from bandmaster.contrib.tracing.metrics.prometheus.exposition import render_families
from bandmaster.contrib.tracing.metrics.prometheus.families import FamilyConverter

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
PLAIN = "text/plain"


class Collected:
    """A provider whose metrics are converted and parsed again."""

    def __init__(self):
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider(
            [self.reader], Resource({"service.name": "shop", "service.instance.id": "one"}), shutdown_on_exit=False
        )
        self.converter = FamilyConverter()

    def meter(self, name=SCOPE, version=None):
        return self.provider.get_meter(name, version)

    def text(self, accept=OPENMETRICS):
        families = self.converter.convert(self.reader.get_metrics_data())
        return render_families(families, {"worker": "web-0"}, accept)[0].decode()

    def samples(self):
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample
            for family in parse_openmetrics(self.text())
            for sample in family.samples
        }

    def values(self, name):
        return {labels: sample.value for (found, labels), sample in self.samples().items() if found == name}


@pytest.fixture
def collected():
    return Collected()


def test_a_counter(collected) -> None:
    """A counter ends in ``_total``, and its attributes are labels."""
    collected.meter().create_counter("jobs.done", "{job}").add(3, {"job.kind": "nightly", "ok": True})
    expected = {(("job_kind", "nightly"), ("ok", "true"), ("worker", "web-0")): 3}
    assert expected == collected.values("jobs_done_total")


def test_gauges(collected) -> None:
    """An up-and-down counter and a gauge are both gauges."""
    collected.meter().create_up_down_counter("jobs.active").add(2)
    collected.meter().create_observable_gauge("disk.used", [lambda options: []], "1")
    collected.meter().create_gauge("disk.free", "1").set(0.5)
    assert [2] == list(collected.values("jobs_active").values())
    assert [0.5] == list(collected.values("disk_free_ratio").values())


def test_a_histogram(collected) -> None:
    """Buckets are cumulative, and the last one has all values."""
    histogram = collected.meter().create_histogram(
        "job.duration", "s", explicit_bucket_boundaries_advisory=[0.1, 1, 10]
    )
    for value in (0.05, 0.1, 0.5, 20):
        histogram.record(value)
    buckets = {dict(labels)["le"]: value for labels, value in collected.values("job_duration_seconds_bucket").items()}
    assert {"0.1": 2, "1.0": 3, "10.0": 3, "+Inf": 4} == buckets
    assert [4] == list(collected.values("job_duration_seconds_count").values())
    assert math.isclose(20.65, next(iter(collected.values("job_duration_seconds_sum").values())))


def test_the_resource_is_an_info(collected) -> None:
    """``target_info`` names the service and the process."""
    collected.meter().create_counter("any").add(1)
    labels = dict(next(iter(collected.values("target_info"))))
    assert ("shop", "one") == (labels["service_name"], labels["service_instance_id"])


def test_meters_are_kept_apart(collected) -> None:
    """Two meters with a metric of the same name make two series; those of this package have no label for it."""
    for meter in (collected.meter(), collected.meter("shop.jobs", "1.0"), collected.meter("shop.mail")):
        meter.create_counter("sent").add(1)
    labels = [dict(one) for one in collected.values("sent_total")]
    assert [None, "shop.jobs", "shop.mail"] == sorted(
        (one.get("otel_scope_name") for one in labels), key=lambda name: name or ""
    )
    assert ["1.0"] == [one["otel_scope_version"] for one in labels if "otel_scope_version" in one]


@pytest.mark.requirement("OBS-M2")
def test_exemplars_link_to_traces(collected) -> None:
    """A bucket and a counter name the trace of a value that they have counted."""
    histogram = collected.meter().create_histogram("job.duration", "s", explicit_bucket_boundaries_advisory=[1, 10])
    counter = collected.meter().create_counter("jobs")
    with TracerProvider(shutdown_on_exit=False).get_tracer("test").start_as_current_span("job") as span:
        histogram.record(5)
        counter.add(1)
    context = span.get_span_context()
    expected = {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
    samples = collected.samples()
    bucket = samples["job_duration_seconds_bucket", (("le", "10.0"), ("worker", "web-0"))]
    assert (expected, 5) == (bucket.exemplar.labels, bucket.exemplar.value)
    assert samples["job_duration_seconds_bucket", (("le", "1.0"), ("worker", "web-0"))].exemplar is None
    assert expected == samples["jobs_total", (("worker", "web-0"),)].exemplar.labels


@pytest.mark.requirement("OBS-M2")
def test_exemplars_stay_until_there_are_newer_ones(collected) -> None:
    """A second scrape has the same exemplars: two Prometheus servers may scrape one process."""
    histogram = collected.meter().create_histogram("job.duration", "s", explicit_bucket_boundaries_advisory=[1])
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")

    def read():
        found = collected.samples()["job_duration_seconds_bucket", (("le", "1.0"), ("worker", "web-0"))].exemplar
        return None if found is None else found.labels["trace_id"]

    histogram.record(0.5)
    assert read() is None
    with tracer.start_as_current_span("first") as first:
        histogram.record(0.5)
    assert [f"{first.get_span_context().trace_id:032x}"] * 2 == [read(), read()]
    with tracer.start_as_current_span("second") as second:
        histogram.record(0.5)
    assert f"{second.get_span_context().trace_id:032x}" == read()


def test_a_trace_that_is_not_recorded_is_no_exemplar(collected) -> None:
    """An exemplar that leads to no trace would be of no use."""
    counter = collected.meter().create_counter("jobs")
    with TracerProvider(ALWAYS_OFF, shutdown_on_exit=False).get_tracer("test").start_as_current_span("job"):
        counter.add(1)
    assert collected.samples()["jobs_total", (("worker", "web-0"),)].exemplar is None


def test_attributes_that_become_one_label_are_joined(collected) -> None:
    """No value is lost when two names differ in characters that Prometheus doesn't take."""
    collected.meter().create_counter("jobs").add(1, {"a.b": "one", "a/b": "two"})
    assert "one;two" == dict(next(iter(collected.values("jobs_total"))))["a_b"]


def test_attributes_cannot_take_the_labels_of_the_endpoint(collected) -> None:
    """The labels worker and le have a meaning here; an application's own are renamed as Prometheus does."""
    histogram = collected.meter().create_histogram("jobs", explicit_bucket_boundaries_advisory=[1])
    histogram.record(1, {"worker": "bob", "le": "x"})
    labels = dict(next(iter(collected.values("jobs_bucket"))))
    assert ("web-0", "bob", "x") == (labels["worker"], labels["exported_worker"], labels["exported_le"])


@pytest.mark.filterwarnings("ignore")
def test_a_metric_of_two_kinds_is_reported(collected) -> None:
    """A family has one type, so the second kind is left out and named."""
    collected.meter("one").create_counter("requests").add(1)
    collected.meter("two").create_gauge("requests").set(1)
    collected.meter("three").create_histogram("requests").record(1)
    text = collected.text()
    assert 1 == text.count("# TYPE requests_total ") + text.count("# TYPE requests counter")
    assert ["requests_total"] == [sample.name for sample in _samples_of(text, "requests")]


def _samples_of(text, name):
    return [sample for family in parse_openmetrics(text) if family.name == name for sample in family.samples]


@given(
    st.dictionaries(
        st.text(min_size=1), st.one_of(st.text(), st.booleans(), st.integers(), st.floats(), st.lists(st.text()))
    )
)
def test_any_attributes_can_be_parsed(attributes) -> None:
    """Whatever an application's attributes are, both formats can be parsed by Prometheus's own library."""
    collected = Collected()
    collected.meter().create_counter("jobs").add(1, attributes)
    (openmetrics,) = _samples_of(collected.text(), "jobs")
    plain = [
        sample
        for family in parse_plain(collected.text(PLAIN))
        for sample in family.samples
        if sample.name == "jobs_total"
    ]
    assert (1, 1) == (openmetrics.value, plain[0].value)
    assert openmetrics.labels == plain[0].labels


def test_a_lone_surrogate_fails_no_scrape(collected) -> None:
    """Text that UTF-8 can't express is replaced."""
    collected.meter().create_counter("jobs").add(1, {"name": "a\ud800b"})
    assert "a?b" == dict(next(iter(collected.values("jobs_total"))))["name"]
