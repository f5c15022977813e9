"""The check of `bandmaster check`: settings of metrics that have no effect."""

from __future__ import annotations

from collections.abc import Iterator

from bandmaster.contrib.tracing.metrics.settings import MetricsSettings
from bandmaster.kernel import Application, CheckContribution, Problem

__all__ = ["metrics_settings"]


def find_idle_settings(application: Application) -> Iterator[Problem | str]:
    """Warn of settings that are set while there are no metrics."""
    settings = application.plan.settings_of(MetricsSettings)
    if settings is None or settings.enabled is False or "metrics" in application.plan.by_name:
        return
    given = [settings.variable(name) for name in MetricsSettings.model_fields if name in settings.model_fields_set]
    if given:
        yield (
            f"there are no metrics, so these have no effect: {', '.join(given)}. Set {settings.variable('endpoint')} "
            f"for a collector, or {settings.variable('port')} for Prometheus."
        )


metrics_settings = CheckContribution(
    name="metrics_settings", check=find_idle_settings, description="Settings of metrics that have no effect."
)
"""The check that names the settings of metrics that have no effect."""
