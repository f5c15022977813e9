"""An exporter that reports an outage once, and can be ended at any time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData

from bandmaster.contrib.tracing.export.export_log import ExportLog
from bandmaster.contrib.tracing.export.quiet_loggers import ThreadLogFilter
from bandmaster.contrib.tracing.metrics.export.exporters import AbortableMetricExporter

__all__ = ["WatchedExporter"]


class WatchedExporter(MetricExporter):
    """Exports by another exporter, and notes how that went. A reader's thread calls it."""

    def __init__(
        self,
        inner: AbortableMetricExporter,
        log: ExportLog,
        records: ThreadLogFilter,
        watch: Callable[[MetricsData], None],
        *,
        patience: float = 0.1,
    ) -> None:
        exporter = inner.exporter
        super().__init__(exporter._preferred_temporality, exporter._preferred_aggregation)  # noqa: SLF001  # as readers do
        self._inner = inner
        self._log = log
        self._records = records
        self._watch = watch
        self._patience = patience
        """Seconds that an export which was ended has to return."""
        self._closed = False
        self._is_idle = threading.Event()
        self._is_idle.set()

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        """Export one collection. Never raises."""
        if self._closed:
            return MetricExportResult.FAILURE
        self._records.thread = threading.current_thread()
        self._is_idle.clear()
        try:
            return self._export(metrics_data, timeout_millis)
        finally:
            self._is_idle.set()

    def _export(self, metrics_data: MetricsData, timeout_millis: float) -> MetricExportResult:
        try:
            self._watch(metrics_data)
            result = self._inner.exporter.export(metrics_data, timeout_millis=timeout_millis)
            reason = self._records.take_reason()
        except Exception as error:  # noqa: BLE001  # an exporter of somebody else; telemetry must not end the thread
            result, reason = MetricExportResult.FAILURE, f"{type(error).__name__}: {error}"
        if result is MetricExportResult.SUCCESS:
            self._log.note_success()
        else:
            if self._closed:
                reason = "the time of the stop was over"
            self._log.note_failure(count_points(metrics_data), reason or "the collector refused them")
        return result

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Do nothing: nothing is buffered."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """End an export under way. Readers call this when their own time is over."""
        if not self._closed:
            self._closed = True
            self._inner.abort()
            # What the exporter logs about its end is stopped as long as this waits.
            self._is_idle.wait(self._patience)


def count_points(data: MetricsData) -> int:
    """The number of values in a collection."""
    return sum(
        len(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )
