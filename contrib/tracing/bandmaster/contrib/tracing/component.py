"""The components of tracing: the provider of spans, and the propagator of traces."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext

import anyio
from opentelemetry.context import Context as OtelContext
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import TracerProvider

from bandmaster.contrib.tracing.activation import makes_spans
from bandmaster.contrib.tracing.configuration import TracingConfiguration, configure
from bandmaster.contrib.tracing.daemon_threads import run_in_daemon_thread
from bandmaster.contrib.tracing.resource import UNKNOWN_SERVICE, describe_service
from bandmaster.contrib.tracing.settings import TracingSettings
from bandmaster.contrib.tracing.standard_settings import OpenTelemetrySettings
from bandmaster.kernel import Context, KernelSettings, LifespanBand, Problem, Redactor, get_logger, lifespan

PRIORITY = LifespanBand.OBSERVABILITY.priorities[10]
"""The stage of tracing and metrics: behind logging, and before everything that makes spans. Components of one stage
stop at the same time, so that both flush within one deadline."""


def find_problems(
    settings: TracingSettings, standard: OpenTelemetrySettings, kernel: KernelSettings
) -> Iterator[Problem | str]:
    """The problems and warnings of settings with which spans don't get where they should."""
    configuration = configure(settings, standard)
    if configuration.exporter.value == "console":
        variable = configuration.exporter.source or settings.variable("exporter")
        yield from kernel.refuse_in_production(
            f"{variable} is console, which prints every span", "Send spans to a collector (otlp), or make none (none)."
        )
    if describe_service(settings, standard, kernel)["service.name"] == UNKNOWN_SERVICE:
        yield (
            f"the service has no name, so spans arrive as {UNKNOWN_SERVICE}; set {settings.variable('service_name')} "
            f"or {standard.variable('otel_service_name')}"
        )
    yield from find_late_stop(settings.variable("stop_timeout"), settings.stop_timeout, kernel)
    yield from _find_global_problems(settings)


def find_late_stop(variable: str, stop_timeout: float, kernel: KernelSettings) -> Iterator[str]:
    """The warning of a last export that may take longer than the process has for its stops."""
    if stop_timeout > kernel.left_for_stops:
        yield (
            f"{variable} is {stop_timeout:g} s, and draining leaves {kernel.left_for_stops:g} s of "
            f"{kernel.variable('termination_grace')} for all stops"
        )


def _find_global_problems(settings: TracingSettings) -> Iterator[Problem | str]:
    from bandmaster.contrib.tracing.global_provider import describe_global, find_foreign_provider

    variable = settings.variable("provider")
    foreign = find_foreign_provider()
    if settings.provider == "set_global" and foreign is not None:
        yield (
            f"{variable} is set_global, and OpenTelemetry's global provider is {describe_global()}; it stays, and "
            f"spans that libraries make go there. {variable}=use_global sends the application's there as well"
        )
    if settings.provider == "use_global" and foreign is None:
        yield Problem(
            f"{variable} is use_global, and no other program has set OpenTelemetry's global provider.",
            f"Start the application under opentelemetry-instrument, or leave {variable} unset.",
        )


def find_propagator_problems(standard: OpenTelemetrySettings) -> Iterator[Problem | str]:
    """The problems of ``OTEL_PROPAGATORS``."""
    from bandmaster.contrib.tracing.propagation.choice import find_unknown_propagators, list_propagators

    for name in find_unknown_propagators(standard.otel_propagators):
        yield Problem(
            f"{standard.variable('otel_propagators')} names {name!r}, which no installed distribution brings.",
            f"Install it, or choose among {', '.join(list_propagators())} and none.",
        )


def describe(settings: TracingSettings, standard: OpenTelemetrySettings) -> Iterator[str]:
    """The lines of the plan: where spans go, the recorded share, and whose provider is global."""
    from bandmaster.contrib.tracing.global_provider import describe_global, find_foreign_provider

    configuration = configure(settings, standard)
    if settings.provider == "use_global":
        yield f"spans go to the global provider, {describe_global()}"
        return
    yield _describe_target(configuration)
    sampling = configuration.sampling
    whose = "a trusted caller's decision stands" if sampling.value.follows_parent else "callers have no say"
    yield f"records {sampling.value.ratio:.4g} of traces{sampling.origin}; {whose}"
    yield from configuration.describe_conflicts()
    if settings.enabled and standard.otel_sdk_disabled:
        yield f"{settings.variable('enabled')} is set, so {standard.variable('otel_sdk_disabled')} doesn't count"
    if settings.provider == "set_global" and find_foreign_provider() is None:
        yield "the global provider is this one; spans that libraries make through OpenTelemetry's API are exported"
    else:
        where = "there" if find_foreign_provider() is not None else "nowhere"
        yield f"the global provider is {describe_global()}; spans of libraries through OpenTelemetry's API go {where}"


def _describe_target(configuration: TracingConfiguration) -> str:
    from bandmaster.contrib.tracing.addresses import hide_userinfo

    exporter = configuration.exporter
    if exporter.value == "otlp":
        endpoint, protocol = configuration.endpoint, configuration.protocol
        address = hide_userinfo(endpoint.value)
        return f"spans go to {address}{endpoint.origin} by {protocol.value}{protocol.origin}"
    where = "standard output" if exporter.value == "console" else "nowhere, for ids and propagation alone"
    return f"spans go to {where}{exporter.origin}"


@lifespan(
    band=LifespanBand.OBSERVABILITY,
    priority=PRIORITY,
    name="tracing",
    when=makes_spans,
    check=find_problems,
    facts=describe,
)
async def tracing(
    settings: TracingSettings,
    standard: OpenTelemetrySettings,
    kernel: KernelSettings,
    redactor: Redactor | None,
    context: Context,
) -> AsyncIterator[TracerProvider]:
    """The provider of spans, made in this process after its last fork, and flushed at the stop within a deadline."""
    # Here, since they import the SDK: an application without tracing needs none of it.
    from bandmaster.contrib.tracing.global_provider import find_foreign_provider
    from bandmaster.contrib.tracing.provider import open_provider
    from bandmaster.contrib.tracing.running_providers import register_provider

    with ExitStack() as stack:
        foreign = find_foreign_provider() if settings.provider == "use_global" else None
        if foreign is not None:
            provider, shut_down = foreign, None
        else:
            service = describe_service(settings, standard, kernel)
            opened = stack.enter_context(open_provider(settings, standard, service, redactor or Redactor()))
            provider, shut_down = opened, opened.shutdown
        stack.enter_context(register_provider(provider))
        stack.enter_context(_handle_library_spans(settings, provider) if foreign is None else nullcontext())
        with _observing_kernel(settings, standard, provider, context):
            yield provider
        if shut_down is not None:
            context.extend_timeout(settings.stop_timeout + 1)
            # A little more than the queue needs, which keeps to its own deadline. Other programs may have added
            # processors to the provider, and those need not.
            await run_in_daemon_thread(shut_down, settings.stop_timeout * 1.1, name="bandmaster span shutdown")


@lifespan(
    band=LifespanBand.OBSERVABILITY,
    priority=PRIORITY,
    name="trace_propagator",
    when=makes_spans,
    check=find_propagator_problems,
)
async def trace_propagator(standard: OpenTelemetrySettings) -> AsyncIterator[TextMapPropagator]:
    """The propagator that reads and writes the headers of traces: W3C Trace Context and Baggage, unless set otherwise.

    Code that sends requests or messages asks for the propagator by the type. OpenTelemetry's global propagator stays
    the same.
    """
    from bandmaster.contrib.tracing.propagation.choice import make_propagator

    yield make_propagator(standard.otel_propagators)


@contextmanager
def _observing_kernel(
    settings: TracingSettings, standard: OpenTelemetrySettings, provider: TracerProvider, context: Context
) -> Iterator[None]:
    """Make spans of the kernel's events, from the beginning of the run until the block ends."""
    if not settings.kernel_spans:
        yield
        return
    from bandmaster.contrib.tracing.kernel_spans import KernelSpans
    from bandmaster.contrib.tracing.sampling import ALWAYS_CONTEXT

    offset = time.time() - anyio.current_time()
    # A share of 0 means that there are to be no spans.
    is_on = configure(settings, standard).sampling.value.ratio > 0
    spans = KernelSpans(
        provider.get_tracer("bandmaster.kernel"),
        context.plan,
        lambda at: round((at + offset) * 1e9),
        ALWAYS_CONTEXT if is_on else OtelContext(),
    )
    context.listen(spans)
    try:
        yield
    finally:
        spans.finish()


@contextmanager
def _handle_library_spans(settings: TracingSettings, provider: TracerProvider) -> Iterator[None]:
    """Export the spans that libraries make through the global API, or tell once that they go nowhere."""
    from bandmaster.contrib.tracing.global_provider import describe_global, find_foreign_provider, set_global
    from bandmaster.contrib.tracing.opentelemetry_internals import listen_for_lost_spans

    logger = get_logger("bandmaster.tracing")
    variable = settings.variable("provider")
    if settings.provider == "set_global":
        with set_global(provider) as done:
            if not done:
                logger.warning("the global provider of spans is somebody else's and stays", provider=describe_global())
            yield
        return
    told = False

    def tell(library: str) -> None:
        nonlocal told
        if told or find_foreign_provider() is not None:
            return
        told = True
        logger.warning(
            "a library makes spans that go nowhere",
            library=library,
            hint=f"{variable}=set_global exports the spans that libraries make through OpenTelemetry's global API",
        )

    with listen_for_lost_spans(tell):
        yield
