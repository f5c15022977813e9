"""The components that trace calls, tasks, statements and Redis commands, each where its package is installed."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import NoOpTracerProvider, TracerProvider

from bandmaster.contrib.tracing.activation import makes_spans
from bandmaster.contrib.tracing.instrumentation.settings import InstrumentationSettings
from bandmaster.contrib.tracing.settings import TracingSettings
from bandmaster.contrib.tracing.standard_settings import OpenTelemetrySettings
from bandmaster.kernel import LifespanBand, Redactor, lifespan

_HAS_HTTP, _HAS_TASKIQ, _HAS_PERSISTENCE, _HAS_REDIS = (
    find_spec(f"bandmaster.contrib.{name}") is not None for name in ("http", "taskiq", "persistence", "redis")
)
_PRIORITY = LifespanBand.OBSERVABILITY.priorities[20]
"""The stage behind the provider of spans. The components whose work is traced are in later bands."""
_DRIVERS = {f"opentelemetry.instrumentation.{name}": name for name in ("sqlalchemy", "psycopg", "asyncpg", "sqlite3")}
"""OpenTelemetry's own instrumentations of statements, and their names."""
_NOTHING = CompositePropagator([])
"""Reads and writes no headers, for an application that leaves out the propagator."""

if TYPE_CHECKING or _HAS_HTTP:
    from bandmaster.contrib.http import CallObserver
else:

    class CallObserver:
        """A type for which nothing asks, where bandmaster-http isn't installed."""


if TYPE_CHECKING or _HAS_TASKIQ:
    from bandmaster.contrib.taskiq import TaskObserver
else:

    class TaskObserver:
        """A type for which nothing asks, where bandmaster-taskiq isn't installed."""


if TYPE_CHECKING or _HAS_PERSISTENCE:
    from bandmaster.contrib.persistence import EngineObserver
else:

    class EngineObserver:
        """A type for which nothing asks, where bandmaster-persistence isn't installed."""


if TYPE_CHECKING or _HAS_REDIS:
    from bandmaster.contrib.redis import CommandObserver
else:

    class CommandObserver:
        """A type for which nothing asks, where bandmaster-redis isn't installed."""


def traces_calls(settings: TracingSettings, standard: OpenTelemetrySettings) -> bool:
    """Whether spans are made, and bandmaster-http is installed."""
    return _HAS_HTTP and makes_spans(settings, standard)


def traces_tasks(settings: TracingSettings, standard: OpenTelemetrySettings) -> bool:
    """Whether spans are made, and bandmaster-taskiq is installed."""
    return _HAS_TASKIQ and makes_spans(settings, standard)


def traces_statements(settings: TracingSettings, standard: OpenTelemetrySettings) -> bool:
    """Whether spans are made, and bandmaster-persistence is installed."""
    return _HAS_PERSISTENCE and makes_spans(settings, standard)


def traces_commands(settings: TracingSettings, standard: OpenTelemetrySettings) -> bool:
    """Whether spans are made, and bandmaster-redis is installed."""
    return _HAS_REDIS and makes_spans(settings, standard)


def find_doubled(part: str, each: str, modules: Mapping[str, str]) -> Iterator[str]:
    """A warning for each other instrumentation of the same work that this process has loaded."""
    for module, name in modules.items():
        if module in sys.modules:
            yield (
                f"{module} is loaded, which makes a second span for each {each}; leave it out "
                f"(OTEL_PYTHON_DISABLED_INSTRUMENTATIONS={name}), or this one (BANDMASTER_DISABLE={part})"
            )


@lifespan(band=LifespanBand.OBSERVABILITY, priority=_PRIORITY, name="trace_calls", when=traces_calls)
async def trace_calls(
    provider: TracerProvider | None, propagator: TextMapPropagator | None, settings: InstrumentationSettings
) -> AsyncIterator[CallObserver]:
    """Makes a span for each attempt of an HTTP call, and gives the trace to the hosts that ``HTTP_`` settings name."""
    # Imported here, since the package may not be installed.
    from bandmaster.contrib.tracing.instrumentation.calls import CallTracer

    yield CallTracer(provider or NoOpTracerProvider(), propagator or _NOTHING, paths=settings.call_paths)


@lifespan(
    band=LifespanBand.OBSERVABILITY,
    priority=_PRIORITY,
    name="trace_tasks",
    when=traces_tasks,
    check=partial(find_doubled, "trace_tasks", "task", {"taskiq.instrumentation": "taskiq"}),
)
async def trace_tasks(
    provider: TracerProvider | None,
    propagator: TextMapPropagator | None,
    settings: InstrumentationSettings,
    redactor: Redactor | None,
) -> AsyncIterator[TaskObserver]:
    """Makes a span for each message that is sent, and one for each attempt of a task."""
    from bandmaster.contrib.tracing.instrumentation.tasks import TaskTracer

    yield TaskTracer(
        provider or NoOpTracerProvider(), propagator or _NOTHING, redactor or Redactor(), links=settings.tasks == "link"
    )


@lifespan(
    band=LifespanBand.OBSERVABILITY,
    priority=_PRIORITY,
    name="trace_statements",
    when=traces_statements,
    check=partial(find_doubled, "trace_statements", "statement", _DRIVERS),
)
async def trace_statements(
    provider: TracerProvider | None, settings: InstrumentationSettings
) -> AsyncIterator[EngineObserver]:
    """Makes a span for each statement of the application's databases."""
    from bandmaster.contrib.tracing.instrumentation.statements import StatementTracer

    yield StatementTracer(
        provider or NoOpTracerProvider(), with_text=settings.statements, longest_text=settings.statement_length
    )


@lifespan(
    band=LifespanBand.OBSERVABILITY,
    priority=_PRIORITY,
    name="trace_commands",
    when=traces_commands,
    check=partial(find_doubled, "trace_commands", "command", {"opentelemetry.instrumentation.redis": "redis"}),
)
async def trace_commands(provider: TracerProvider | None) -> AsyncIterator[CommandObserver]:
    """Makes a span for each command and pipeline of the application's Redis clients."""
    from bandmaster.contrib.tracing.instrumentation.commands import CommandTracer

    yield CommandTracer(provider or NoOpTracerProvider())
