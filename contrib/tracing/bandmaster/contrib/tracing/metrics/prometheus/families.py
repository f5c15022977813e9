"""Convert collected metrics of OpenTelemetry to the families that prometheus-client renders."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from opentelemetry.sdk.metrics import Exemplar as SDKExemplar
from opentelemetry.sdk.metrics.export import Gauge, Histogram, HistogramDataPoint, Metric, MetricsData, Sum
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import Metric as Family
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from bandmaster.contrib.tracing.metrics.catalogue import SCOPE
from bandmaster.contrib.tracing.metrics.prometheus.naming import Kind, make_label_name, make_metric_name, make_unit

__all__ = ["WORKER", "FamilyConverter"]

WORKER: Final = "worker"
"""The label that names the process among those of a scrape."""

_RESERVED = frozenset([WORKER, "le", "quantile"])
"""Labels that Prometheus or this endpoint sets; attributes of these names become ``exported_...``, as in Prometheus."""
_Labels: TypeAlias = dict[str, str]
_Series: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]


class FamilyConverter:
    """Converts the collections of a reader, and keeps the last exemplar of each series.

    OpenTelemetry gives each exemplar once. A second Prometheus that scrapes the same process would see none.
    """

    def __init__(self) -> None:
        self._exemplars: dict[_Series, Exemplar] = {}
        self.conflicts: set[str] = set()
        """Names of metrics that several meters made in different kinds; only those of the first are converted."""

    def convert(self, data: MetricsData | None) -> list[Family]:
        """One family for each metric, and ``target`` with the attributes of the resource."""
        families: dict[str, Family] = {}
        self.conflicts = set()
        kept, self._exemplars = self._exemplars, {}
        for resource_metrics in data.resource_metrics if data is not None else ():
            _add_target(families, resource_metrics.resource)
            for scope_metrics in resource_metrics.scope_metrics:
                scope = _make_scope_labels(scope_metrics.scope)
                for metric in scope_metrics.metrics:
                    self._add_metric(families, metric, scope, kept)
        return list(families.values())

    def _add_metric(
        self, families: dict[str, Family], metric: Metric, scope: _Labels, kept: Mapping[_Series, Exemplar]
    ) -> None:
        kind = _find_kind(metric)
        if kind is None:
            self.conflicts.add(metric.name)
            return
        unit = metric.unit or ""
        name = make_metric_name(metric.name, unit, kind)
        family = families.get(name)
        if family is None:
            word = make_unit(unit, kind)
            family = Family(name, metric.description or "", kind, word if name.endswith(f"_{word}") else "")
            families[name] = family
        elif family.type != kind:
            self.conflicts.add(metric.name)
            return
        for point in metric.data.data_points:
            labels = scope | _make_labels(point.attributes or {})
            if isinstance(point, HistogramDataPoint):
                self._add_histogram(family, labels, point, kept)
            elif kind == "counter":
                sample = f"{name}_total"
                exemplar = self._choose_exemplar(sample, labels, point.exemplars, kept)
                family.add_sample(sample, labels, point.value, exemplar=exemplar)  # type: ignore[union-attr]
            else:
                family.add_sample(name, labels, point.value)  # type: ignore[union-attr]

    def _add_histogram(
        self, family: Family, labels: _Labels, point: HistogramDataPoint, kept: Mapping[_Series, Exemplar]
    ) -> None:
        name, below, count = f"{family.name}_bucket", -math.inf, 0
        for bound, number in zip((*point.explicit_bounds, math.inf), point.bucket_counts, strict=True):
            count += number
            inside = [exemplar for exemplar in point.exemplars if below < exemplar.value <= bound]
            bucket = labels | {"le": str(floatToGoString(bound))}  # type: ignore[no-untyped-call]
            family.add_sample(name, bucket, count, exemplar=self._choose_exemplar(name, bucket, inside, kept))
            below = bound
        family.add_sample(f"{family.name}_count", labels, point.count)
        family.add_sample(f"{family.name}_sum", labels, point.sum)

    def _choose_exemplar(
        self, sample: str, labels: _Labels, found: Sequence[SDKExemplar], kept: Mapping[_Series, Exemplar]
    ) -> Exemplar | None:
        series = (sample, tuple(sorted(labels.items())))
        traced = [exemplar for exemplar in found if exemplar.trace_id and exemplar.span_id]
        if traced:
            newest = max(traced, key=lambda exemplar: exemplar.time_unix_nano)
            chosen = Exemplar(
                {"trace_id": f"{newest.trace_id:032x}", "span_id": f"{newest.span_id:016x}"},
                newest.value,
                newest.time_unix_nano / 1e9,
            )
        elif (last := kept.get(series)) is not None:
            chosen = last
        else:
            return None
        self._exemplars[series] = chosen
        return chosen


def _find_kind(metric: Metric) -> Kind | None:
    """The kind in Prometheus; None for one that the text format can't express."""
    if isinstance(metric.data, Sum):
        return "counter" if metric.data.is_monotonic else "gauge"
    if isinstance(metric.data, Gauge):
        return "gauge"
    return "histogram" if isinstance(metric.data, Histogram) else None


def _add_target(families: dict[str, Family], resource: Resource) -> None:
    family = families.get("target")
    if family is None:
        family = families["target"] = Family("target", "The process, by OpenTelemetry's resource attributes.", "info")
    family.add_sample("target_info", _make_labels(resource.attributes), 1)


def _make_scope_labels(scope: InstrumentationScope) -> _Labels:
    """The labels that keep apart equal metrics of different meters; none for those of this package."""
    if scope.name == SCOPE:
        return {}
    named = {"otel_scope_name": scope.name, "otel_scope_version": scope.version or ""}
    attributes = {f"otel_scope_{name}": value for name, value in (scope.attributes or {}).items()}
    return {name: value for name, value in (_make_labels(attributes) | named).items() if value}


def _make_labels(attributes: Mapping[str, Any]) -> _Labels:
    labels: _Labels = {}
    for name, value in sorted(attributes.items()):
        label, text = make_label_name(name), _render_value(value)
        if label in _RESERVED:
            label = f"exported_{label}"
        # Two attributes may become one label; their values are joined (OpenTelemetry's compatibility rules).
        labels[label] = f"{labels[label]};{text}" if label in labels else text
    return labels


def _render_value(value: Any) -> str:
    if isinstance(value, str):
        # A lone surrogate can't be encoded, and would fail the whole scrape.
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Iterable):
        return json.dumps(value, default=str)
    return str(value)
