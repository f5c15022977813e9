"""The names and units of Prometheus for those of OpenTelemetry."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmaster.contrib.tracing.metrics import catalogue
from bandmaster.contrib.tracing.metrics.prometheus.naming import (
    make_label_name,
    make_metric_name,
    make_sample_names,
    make_unit,
)

LEGACY_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LEGACY_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
KINDS = st.sampled_from(["counter", "gauge", "histogram"])


@pytest.mark.parametrize(
    ("name", "unit", "kind", "expected"),
    [
        ("http.server.request.duration", "s", "histogram", "http_server_request_duration_seconds"),
        ("http.server.active_requests", "{request}", "gauge", "http_server_active_requests"),
        ("jobs", "1", "counter", "jobs"),
        ("jobs.total", "1", "counter", "jobs"),
        ("cpu.utilization", "1", "gauge", "cpu_utilization_ratio"),
        ("disk.io", "By", "counter", "disk_io_bytes"),
        ("disk_bytes", "By", "gauge", "disk_bytes"),
        ("net.speed", "By/s", "gauge", "net_speed_bytes_per_second"),
        ("speed", "{car}/h", "gauge", "speed_per_hour"),
        ("weird--name", "", "gauge", "weird_name"),
        ("7wonders", "", "gauge", "_7wonders"),
        ("temperature", "Cel", "gauge", "temperature_celsius"),
        ("made.up", "furlong", "gauge", "made_up_furlong"),
    ],
)
def test_metric_names(name, unit, kind, expected) -> None:
    """Names follow OpenTelemetry's rules for the compatibility with Prometheus."""
    assert expected == make_metric_name(name, unit, kind)


@given(st.text(), st.text(), KINDS)
def test_names_are_always_valid(name, unit, kind) -> None:
    """Whatever a meter names its metric, Prometheus can read the name."""
    assert LEGACY_NAME.fullmatch(make_metric_name(name, unit, kind))


@given(st.text())
def test_labels_are_always_valid(name) -> None:
    """Whatever an attribute is named, its label is valid, and not one that Prometheus keeps for itself."""
    label = make_label_name(name)
    assert LEGACY_LABEL.fullmatch(label)
    assert not label.startswith("__")


@given(st.text(), st.text(), KINDS)
def test_a_name_ends_with_its_unit(name, unit, kind) -> None:
    """OpenMetrics demands that a family with a unit has it at the end of its name."""
    word = make_unit(unit, kind)
    assert not word or make_metric_name(name, unit, kind).endswith(f"_{word}")


def test_own_names_are_unique() -> None:
    """No two metrics of the catalogue become one in Prometheus."""
    names = [
        name
        for metric in catalogue.ALL
        for name in make_sample_names(
            metric.name, metric.unit, "gauge" if metric.kind == "up_down_counter" else metric.kind
        )
    ]
    assert len(names) == len(set(names))
    assert "http_server_request_duration_seconds_bucket" in names
    assert "bandmaster_task_sent_total" in names
