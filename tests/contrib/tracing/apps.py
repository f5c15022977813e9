"""Applications with tracing for the tests, and the settings that send their spans to the tests' collector."""

from __future__ import annotations

from importlib.metadata import distribution
from typing import Any

from bandmaster.contrib.tracing import OpenTelemetrySettings, TracingSettings
from bandmaster.contrib.web import WebSettings
from bandmaster.kernel import KernelSettings, create_app

PARTS = [
    point.load()
    for name in ("bandmaster-web", "bandmaster-tracing")
    for point in distribution(name).entry_points
    if point.group.startswith("bandmaster.")
]
"""The parts of the web and tracing packages."""
NAME = "shop"
"""The service's name."""


def compose(
    host: Any,
    endpoint: str = "",
    *,
    web: WebSettings | None = None,
    kernel: dict[str, Any] | None = None,
    standard: dict[str, Any] | None = None,
    overrides: dict[Any, Any] | None = None,
    contributions: Any = (),
    **settings: Any,
) -> Any:
    """An application with the web and tracing parts; ``settings`` are those of tracing."""
    if endpoint:
        settings = {"endpoint": endpoint, **settings}
    settings = {"service_name": NAME, "batch_delay": 0.05, "kernel_spans": False, **settings}
    return create_app(
        host,
        contributions=[*PARTS, *contributions],
        discover=False,
        overrides={
            WebSettings: web or WebSettings(access_log="off"),
            TracingSettings: TracingSettings(**settings),
            OpenTelemetrySettings: OpenTelemetrySettings(**(standard or {})),
            **(overrides or {}),
        },
        settings=KernelSettings(**(kernel or {})),
    )
