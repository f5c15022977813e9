"""Warn once of each metric that has reached the most label sets."""

from __future__ import annotations

import threading

from opentelemetry.sdk.metrics.export import MetricsData

from bandmaster.kernel import get_logger

__all__ = ["OverflowWatch"]

_OVERFLOW = "otel.metric.overflow"
"""The attribute of the one series in which the SDK counts all further label sets."""


class OverflowWatch:
    """Looks for overflows in each collection. Thread-safe."""

    def __init__(self, limit: int, variable: str) -> None:
        self._limit = limit
        self._variable = variable
        self._told: set[str] = set()
        self._lock = threading.Lock()

    def check(self, data: MetricsData) -> None:
        """Warn of metrics with an overflow that no earlier call has warned of."""
        for resource in data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name not in self._told and _has_overflow(metric.data.data_points):
                        self._warn(metric.name)

    def _warn(self, name: str) -> None:
        with self._lock:
            if name in self._told:
                return
            self._told.add(name)
        get_logger("bandmaster.metrics").warning(
            "a metric has too many label sets",
            metric=name,
            limit=self._limit,
            hint="all further ones are counted in one series with the label otel_metric_overflow. Does a label have "
            f"ids or other values of clients? Otherwise raise {self._variable}",
        )


def _has_overflow(points: object) -> bool:
    # The series of the overflow is made after all others, so it is the last.
    assert isinstance(points, list | tuple)
    return bool(points) and _OVERFLOW in (points[-1].attributes or ())
