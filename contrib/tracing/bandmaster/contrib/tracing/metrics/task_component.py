"""The component that measures tasks, where bandmaster-taskiq is installed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

from opentelemetry.metrics import MeterProvider, NoOpMeterProvider

from bandmaster.contrib.tracing.component import PRIORITY
from bandmaster.contrib.tracing.metrics.activation import makes_metrics
from bandmaster.contrib.tracing.metrics.settings import MetricsSettings
from bandmaster.contrib.tracing.metrics.standard_settings import OpenTelemetryMetricsSettings
from bandmaster.contrib.tracing.standard_settings import OpenTelemetrySettings
from bandmaster.kernel import Context, LifespanBand, lifespan

__all__ = ["task_metrics"]

_HAS_TASKS = find_spec("bandmaster.contrib.taskiq") is not None

if TYPE_CHECKING or _HAS_TASKS:
    from bandmaster.contrib.taskiq import TaskObserver
else:

    class TaskObserver:
        """A type that nothing asks for where bandmaster-taskiq isn't installed."""


def measures_tasks(
    settings: MetricsSettings, standard: OpenTelemetryMetricsSettings, general: OpenTelemetrySettings
) -> bool:
    """Whether there are metrics, and bandmaster-taskiq is installed."""
    return _HAS_TASKS and makes_metrics(settings, standard, general)


@lifespan(band=LifespanBand.OBSERVABILITY, priority=PRIORITY, name="task_metrics", when=measures_tasks)
async def task_metrics(provider: MeterProvider | None, context: Context) -> AsyncIterator[TaskObserver]:
    """Measures the attempts of tasks, and counts sendings and dead letters."""
    # Imported here, since TaskIQ may not be installed.
    from bandmaster.contrib.taskiq import collect_tasks
    from bandmaster.contrib.tracing.metrics.observed.tasks import TaskMetrics

    yield TaskMetrics(provider or NoOpMeterProvider(), collect_tasks(context.plan).keys())
