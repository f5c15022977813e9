"""Traces and metrics by OpenTelemetry: requests, WebSockets, tasks, calls, statements, the own start and stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.kernel import export_lazily

if TYPE_CHECKING:
    from bandmaster.contrib.tracing.activation import makes_spans as makes_spans
    from bandmaster.contrib.tracing.component import trace_propagator as trace_propagator
    from bandmaster.contrib.tracing.component import tracing as tracing
    from bandmaster.contrib.tracing.instrumentation.components import trace_calls as trace_calls
    from bandmaster.contrib.tracing.instrumentation.components import trace_commands as trace_commands
    from bandmaster.contrib.tracing.instrumentation.components import trace_statements as trace_statements
    from bandmaster.contrib.tracing.instrumentation.components import trace_tasks as trace_tasks
    from bandmaster.contrib.tracing.instrumentation.settings import InstrumentationSettings as InstrumentationSettings
    from bandmaster.contrib.tracing.requests.layer import TracingLayer as TracingLayer
    from bandmaster.contrib.tracing.resource import describe_process as describe_process
    from bandmaster.contrib.tracing.resource import describe_service as describe_service
    from bandmaster.contrib.tracing.resource import make_resource as make_resource
    from bandmaster.contrib.tracing.running_providers import current_provider as current_provider
    from bandmaster.contrib.tracing.settings import TracingSettings as TracingSettings
    from bandmaster.contrib.tracing.standard_settings import OpenTelemetrySettings as OpenTelemetrySettings
    from bandmaster.contrib.tracing.traced_functions import traced as traced

# A name is imported when it is first used: code that reads settings needs no SDK.
export_lazily(
    __name__,
    {
        "activation": ["makes_spans"],
        "component": ["trace_propagator", "tracing"],
        "instrumentation.components": ["trace_calls", "trace_commands", "trace_statements", "trace_tasks"],
        "instrumentation.settings": ["InstrumentationSettings"],
        "requests.layer": ["TracingLayer"],
        "resource": ["describe_process", "describe_service", "make_resource"],
        "running_providers": ["current_provider"],
        "settings": ["TracingSettings"],
        "standard_settings": ["OpenTelemetrySettings"],
        "traced_functions": ["traced"],
    },
)
