"""The Grafana dashboard: every name in its queries is one that the endpoint has."""

import json
import re
from importlib.resources import files

import pytest

from bandmaster.contrib.tracing.metrics import catalogue
from bandmaster.contrib.tracing.metrics.prometheus.naming import make_label_name, make_sample_names

DASHBOARD = json.loads(files("bandmaster.contrib.tracing.metrics").joinpath("dashboard.json").read_text("utf-8"))
OTHERS = {
    "process_resident_memory_bytes": set(),
    "process_cpu_seconds_total": set(),
    "process_open_fds": set(),
    "bandmaster_scrape_workers": {"state"},
}
"""Metrics that aren't in the catalogue: those of prometheus-client, and of the scrape itself."""
WORDS = {"sum", "max", "count", "rate", "increase", "topk", "histogram_quantile", "or", "vector", "by"}


def list_metrics():
    found = {name: set(labels) for name, labels in OTHERS.items()}
    for metric in catalogue.ALL:
        kind = "gauge" if metric.kind == "up_down_counter" else metric.kind
        for name in make_sample_names(metric.name, metric.unit, kind):
            found[name] = {make_label_name(label) for label in metric.labels}
            if name.endswith("_bucket"):
                found[name].add("le")
    return found


def list_queries():
    return [(panel["title"], target) for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]


def read_query(query):
    """The metrics and the labels that a query names."""
    labels = {
        name
        for group in re.findall(r"\{([^}]*)\}", query)
        for name in re.findall(r"([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)", group)
    }
    labels |= {name.strip() for group in re.findall(r"\bby \(([^)]*)\)", query) for name in group.split(",")}
    bare = re.sub(r'"[^"]*"', "", query)
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\bby \([^)]*\)", " ", bare)
    metrics = set(re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", bare)) - WORDS
    return metrics, labels


@pytest.mark.parametrize(("title", "target"), list_queries(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_query_names_what_there_is(title, target) -> None:
    """Each metric exists, and has each label of the query and of its legend."""
    known = list_metrics()
    metrics, labels = read_query(target["expr"])
    assert metrics, target["expr"]
    assert metrics <= set(known), metrics - set(known)
    allowed = {"worker"}.union(*(known[name] for name in metrics))
    assert labels <= allowed, labels - allowed
    legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    assert legend <= labels, legend - labels


def test_every_metric_is_on_the_dashboard() -> None:
    """A metric that is added is shown somewhere."""
    shown = set().union(*(read_query(target["expr"])[0] for _, target in list_queries()))
    missing = [
        metric.name
        for metric in catalogue.ALL
        if not shown
        & set(make_sample_names(metric.name, metric.unit, "gauge" if metric.kind == "up_down_counter" else metric.kind))
    ]
    assert [] == missing


def test_durations_link_to_traces() -> None:
    """Panels of durations of requests and tasks show exemplars."""
    with_exemplars = {title for title, target in list_queries() if target["exemplar"]}
    assert {"Duration", "Slowest routes (p95)", "Duration by task (p95)"} <= with_exemplars


def test_panels_have_places_of_their_own() -> None:
    """No two panels lie over each other, and their ids are unique."""
    panels = DASHBOARD["panels"]
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert len(panels) == len({panel["id"] for panel in panels})


def test_the_data_source_is_chosen_by_the_viewer() -> None:
    """No panel names a data source of somebody's own Grafana."""
    assert {"${datasource}"} == {target["datasource"]["uid"] for _, target in list_queries()}
