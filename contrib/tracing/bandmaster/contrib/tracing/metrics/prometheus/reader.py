"""Read the metrics of this process as families, at each scrape."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.sdk.metrics.export import CardinalityLimits, MetricReader, MetricsData
from prometheus_client import REGISTRY
from prometheus_client import Metric as Family
from prometheus_client.registry import Collector

from bandmaster.contrib.tracing.metrics.prometheus.families import FamilyConverter

__all__ = ["ScrapeReader"]


class ScrapeReader(MetricReader):
    """A reader of OpenTelemetry's SDK that collects at each scrape.

    `collect_families` gives the metrics of the provider and those of a registry of prometheus-client. The default
    registry has metrics of the process, of the garbage collector and of Python itself, and all that the application
    and its libraries have registered.
    """

    def __init__(
        self,
        *,
        cardinality_limits: CardinalityLimits | None = None,
        registry: Collector = REGISTRY,
        watch: Callable[[MetricsData], None] = lambda data: None,
        report: Callable[[str, str], None] = lambda name, reason: None,
    ) -> None:
        super().__init__(cardinality_limits=cardinality_limits)
        self._registry = registry
        self._watch = watch
        self._report = report
        self._converter = FamilyConverter()
        self._lock = threading.Lock()
        self._data: MetricsData | None = None

    def collect_families(self) -> list[Family]:
        """All families. A registry that fails is left out and reported, as is a metric of two kinds."""
        with self._lock:
            self._data = None
            self.collect()
            families = self._converter.convert(self._data)
            for name in self._converter.conflicts:
                self._report(name, "several meters make it in different kinds; only the first is exposed")
        names = {family.name for family in families}
        return [*families, *(family for family in self._read_registry() if family.name not in names)]

    def _read_registry(self) -> Iterable[Family]:
        try:
            return list(self._registry.collect())
        except Exception as error:  # noqa: BLE001  # a collector of the application or of a library
            self._report("the registry of prometheus-client", f"a collector failed: {type(error).__name__}")
            return ()

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        self._data = metrics_data
        self._watch(metrics_data)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Do nothing: nothing is open."""
