"""Make the provider of meters of OpenTelemetry's SDK, with its readers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    Counter,
    ExemplarFilter,
    Histogram,
    MeterProvider,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    TraceBasedExemplarFilter,
    UpDownCounter,
    _Gauge,
)
from opentelemetry.sdk.metrics.export import (
    CardinalityLimits,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

from bandmaster.contrib.tracing.export.export_log import ExportLog
from bandmaster.contrib.tracing.export.quiet_loggers import quiet_exporters
from bandmaster.contrib.tracing.metrics import catalogue
from bandmaster.contrib.tracing.metrics.configuration import MetricsConfiguration
from bandmaster.contrib.tracing.metrics.export.exporters import make_exporter
from bandmaster.contrib.tracing.metrics.export.overflow import OverflowWatch
from bandmaster.contrib.tracing.metrics.export.watched_exporter import WatchedExporter
from bandmaster.contrib.tracing.metrics.settings import MetricsSettings
from bandmaster.contrib.tracing.opentelemetry_internals import enable_provider
from bandmaster.contrib.tracing.resource import make_resource
from bandmaster.kernel import get_logger

if TYPE_CHECKING:
    from bandmaster.contrib.tracing.metrics.prometheus.reader import ScrapeReader

__all__ = ["ReadableMeterProvider", "open_provider"]

_FILTERS: Final[dict[str, Callable[[], ExemplarFilter]]] = {
    "always_on": AlwaysOnExemplarFilter,
    "always_off": AlwaysOffExemplarFilter,
    "trace_based": TraceBasedExemplarFilter,
}

_SHARE = 0.05
"""The part of the stop's timeout that an export which was ended has to return."""


class ReadableMeterProvider(MeterProvider):
    """A provider whose metrics the endpoint for Prometheus reads."""

    def __init__(
        self,
        readers: list[MetricReader],
        scrape_reader: ScrapeReader | None,
        *,
        resource: Resource,
        settings: MetricsSettings,
        exemplars: str,
    ) -> None:
        super().__init__(
            readers,
            resource,
            _FILTERS[exemplars](),
            # An atexit handler would export for as long as the collector takes; the component has exported by then.
            shutdown_on_exit=False,
            views=_make_views(settings),
        )
        self.scrape_reader = scrape_reader
        """The reader of the endpoint; None without one."""


@contextmanager
def open_provider(
    settings: MetricsSettings, configuration: MetricsConfiguration, service: Mapping[str, str]
) -> Iterator[ReadableMeterProvider]:
    """A provider whose metrics are exported and scraped as the settings say. The caller shuts it down.

    Nothing is connected to: an exporter connects at its first export, in its own thread.

    Raises:
        ExporterRefusedError: the exporter can't be made with these settings.
    """
    watch = OverflowWatch(settings.series_limit, settings.variable("series_limit")).check
    limits = _make_limits(settings.series_limit)
    with ExitStack() as stack:
        exporter = make_exporter(configuration)
        readers: list[MetricReader] = []
        if exporter is not None:
            log = ExportLog("metrics", exporter.address)
            stack.callback(log.close)
            watched = WatchedExporter(
                exporter, log, stack.enter_context(quiet_exporters()), watch, patience=_SHARE * settings.stop_timeout
            )
            readers.append(
                PeriodicExportingMetricReader(
                    watched, configuration.interval.value * 1000, configuration.timeout.value * 1000, limits
                )
            )
        scrape_reader = _make_scrape_reader(limits, watch) if settings.serves_scrapes else None
        if scrape_reader is not None:
            readers.append(scrape_reader)
        provider = ReadableMeterProvider(
            readers,
            scrape_reader,
            resource=make_resource(service),
            settings=settings,
            exemplars=configuration.exemplars,
        )
        enable_provider(provider)
        yield provider


def _make_scrape_reader(limits: CardinalityLimits, watch: Callable[[MetricsData], None]) -> ScrapeReader:
    from bandmaster.contrib.tracing.metrics.prometheus.reader import ScrapeReader

    told: set[str] = set()

    def report(name: str, reason: str) -> None:
        if name not in told:
            told.add(name)
            get_logger("bandmaster.metrics").warning("a metric is left out of scrapes", metric=name, reason=reason)

    return ScrapeReader(cardinality_limits=limits, watch=watch, report=report)


def _make_limits(limit: int) -> CardinalityLimits:
    kinds = (Counter, UpDownCounter, Histogram, ObservableCounter, ObservableUpDownCounter, ObservableGauge, _Gauge)
    return dict.fromkeys(kinds, limit)


def _make_views(settings: MetricsSettings) -> list[View]:
    if not settings.request_buckets:
        return []
    aggregation = ExplicitBucketHistogramAggregation(settings.request_buckets)
    names = (catalogue.REQUEST_DURATION.name, catalogue.STREAM_FIRST_BYTE.name)
    return [View(instrument_name=name, aggregation=aggregation) for name in names]
