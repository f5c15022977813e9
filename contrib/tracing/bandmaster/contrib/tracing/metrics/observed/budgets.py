"""The metrics of the plan: budgets, their limits, and the versions that run."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator, Mapping

from opentelemetry.metrics import Meter, Observation

from bandmaster.contrib.tracing.metrics import catalogue
from bandmaster.kernel import Context

__all__ = ["register_budgets", "register_build_info"]


def register_budgets(meter: Meter, context: Context) -> None:
    """Create the instruments of the plan's budgets. Their values don't change while the plan runs."""
    each, processes, limits = context.plan.budget, context.settings.processes, context.settings.limits

    def observe(values: Mapping[str, int]) -> Iterator[Observation]:
        for resource, value in values.items():
            yield Observation(value, {"resource": resource})

    catalogue.BUDGET_PROCESS.observe(meter, lambda: observe(each))
    catalogue.BUDGET_TOTAL.observe(meter, lambda: observe({name: value * processes for name, value in each.items()}))
    catalogue.BUDGET_LIMIT.observe(meter, lambda: observe(limits))


def register_build_info(meter: Meter, context: Context, service: Mapping[str, str]) -> None:
    """Create the instrument with the versions of the application, of bandmaster and of Python."""
    labels = {
        "service.name": service["service.name"],
        "service.version": service.get("service.version", ""),
        "bandmaster.version": importlib.metadata.version("bandmaster"),
        "python.version": platform.python_version(),
        "environment": context.settings.environment,
        "role": context.plan.role or "",
    }
    catalogue.BUILD_INFO.observe(meter, lambda: [Observation(1, labels)])
