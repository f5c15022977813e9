"""The components of metrics: the provider of meters, and the observers of pools and queues."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

from opentelemetry.metrics import MeterProvider

from bandmaster.contrib.tracing.component import PRIORITY, find_late_stop
from bandmaster.contrib.tracing.daemon_threads import run_in_daemon_thread
from bandmaster.contrib.tracing.metrics.activation import makes_metrics
from bandmaster.contrib.tracing.metrics.configuration import MetricsConfiguration, configure
from bandmaster.contrib.tracing.metrics.settings import MetricsSettings
from bandmaster.contrib.tracing.metrics.standard_settings import OpenTelemetryMetricsSettings
from bandmaster.contrib.tracing.resource import describe_service
from bandmaster.contrib.tracing.settings import TracingSettings
from bandmaster.contrib.tracing.standard_settings import OpenTelemetrySettings
from bandmaster.kernel import Context, KernelSettings, LifespanBand, Problem, Restart, get_logger, lifespan

__all__ = ["metrics", "runtime_metrics"]


def find_problems(
    settings: MetricsSettings,
    standard: OpenTelemetryMetricsSettings,
    general: OpenTelemetrySettings,
    kernel: KernelSettings,
) -> Iterator[Problem | str]:
    """The problems and warnings of settings with which metrics don't get where they should."""
    configuration = configure(settings, standard, general)
    if configuration.exporter.value == "console":
        variable = configuration.exporter.source or settings.variable("exporter")
        yield from kernel.refuse_in_production(
            f"{variable} is console, which prints every metric", "Send metrics to a collector (otlp), or none (none)."
        )
    if configuration.exporter.value == "none" and not settings.serves_scrapes and settings.provider != "use_global":
        yield (
            f"metrics are made and go nowhere; set {settings.variable('endpoint')} for a collector or "
            f"{settings.variable('port')} for Prometheus"
        )
    yield from find_late_stop(settings.variable("stop_timeout"), settings.stop_timeout, kernel)
    yield from _find_scrape_problems(settings, kernel)
    yield from _find_global_problems(settings)


def _find_scrape_problems(settings: MetricsSettings, kernel: KernelSettings) -> Iterator[str]:
    if settings.application_path is not None and settings.port is None and settings.folder is None:
        if kernel.processes > 1:
            yield (
                f"{kernel.variable('processes')} is {kernel.processes}, and a scrape of "
                f"{settings.variable('application_path')} has the metrics of one process alone; name a folder that all "
                f"share by {settings.variable('folder')}"
            )
    elif not settings.serves_scrapes:
        names = [name for name in ("folder", "token") if getattr(settings, name) is not None]
        if names:
            variables = " and ".join(map(settings.variable, names))
            yield f"{variables} can't have an effect: {settings.variable('port')} isn't set"


def _find_global_problems(settings: MetricsSettings) -> Iterator[Problem | str]:
    from bandmaster.contrib.tracing.metrics.global_provider import describe_global, find_foreign_provider

    variable = settings.variable("provider")
    foreign = find_foreign_provider()
    if settings.provider == "set_global" and foreign is not None:
        yield (
            f"{variable} is set_global, and OpenTelemetry's global provider of meters is {describe_global()}; it "
            f"stays, and metrics of libraries go there. {variable}=use_global sends the application's there as well"
        )
    if settings.provider == "use_global" and foreign is None:
        yield Problem(
            f"{variable} is use_global, and no other program has set OpenTelemetry's global provider of meters.",
            f"Start the application under opentelemetry-instrument, or leave {variable} unset.",
        )


def describe(
    settings: MetricsSettings, standard: OpenTelemetryMetricsSettings, general: OpenTelemetrySettings
) -> Iterator[str]:
    """The lines of the plan: where metrics go."""
    if settings.provider == "use_global":
        from bandmaster.contrib.tracing.metrics.global_provider import describe_global

        yield f"metrics go to the global provider, {describe_global()}"
        return
    configuration = configure(settings, standard, general)
    if configuration.exporter.value != "none" or not settings.serves_scrapes:
        yield _describe_target(configuration)
    yield from configuration.describe_conflicts()
    if settings.port is not None:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        token = ", with a token" if settings.token is not None else ""
        yield f"Prometheus scrapes http://{host}:{settings.port}{settings.path}{token}"
    if settings.application_path is not None:
        yield f"Prometheus scrapes {settings.application_path} on the application's port, with a token"


def _describe_target(configuration: MetricsConfiguration) -> str:
    from bandmaster.contrib.tracing.addresses import hide_userinfo

    exporter, endpoint = configuration.exporter, configuration.endpoint
    if exporter.value == "otlp":
        where = f"{hide_userinfo(endpoint.value)}{endpoint.origin} by {configuration.protocol.value}"
        return f"metrics go to {where} every {configuration.interval.value:g} s{configuration.interval.origin}"
    return f"metrics go to {'standard output' if exporter.value == 'console' else 'nowhere'}{exporter.origin}"


@lifespan(
    band=LifespanBand.OBSERVABILITY,
    priority=PRIORITY,
    name="metrics",
    when=makes_metrics,
    check=find_problems,
    facts=describe,
)
async def metrics(
    settings: MetricsSettings,
    standard: OpenTelemetryMetricsSettings,
    general: OpenTelemetrySettings,
    tracing: TracingSettings,
    kernel: KernelSettings,
    context: Context,
) -> AsyncIterator[MeterProvider]:
    """The provider of meters, made in this process after the last fork, and exported once more at the stop."""
    # Here, since they import the SDK: an application without metrics needs none of it.
    from bandmaster.contrib.tracing.metrics import catalogue
    from bandmaster.contrib.tracing.metrics.global_provider import describe_global, find_foreign_provider, set_global
    from bandmaster.contrib.tracing.metrics.observed.budgets import register_budgets, register_build_info
    from bandmaster.contrib.tracing.metrics.observed.components import ComponentMetrics
    from bandmaster.contrib.tracing.metrics.provider import open_provider

    service = describe_service(tracing, general, kernel)
    with ExitStack() as stack:
        provider = find_foreign_provider() if settings.provider == "use_global" else None
        shut_down = None
        if provider is None:
            opened = stack.enter_context(open_provider(settings, configure(settings, standard, general), service))
            provider, shut_down = opened, opened.shutdown
            if settings.provider == "set_global" and not stack.enter_context(set_global(provider)):
                get_logger("bandmaster.metrics").warning(
                    "the global provider of meters is somebody else's and stays", provider=describe_global()
                )
        meter = provider.get_meter(catalogue.SCOPE)
        components = ComponentMetrics(part.name for part in context.plan.components)
        components.register(meter)
        register_budgets(meter, context)
        register_build_info(meter, context, service)
        context.listen(components.note_event)
        yield provider
        if shut_down is not None:
            context.extend_timeout(settings.stop_timeout + 1)

            def shut_down_in_time() -> None:
                try:
                    shut_down(timeout_millis=settings.stop_timeout * 1000)
                except Exception as error:  # noqa: BLE001  # the SDK raises what its readers have raised; the stop goes on
                    get_logger("bandmaster.metrics").warning("the last export failed", error=f"{type(error).__name__}")

            # A little more than the reader needs, which keeps to its own deadline.
            await run_in_daemon_thread(
                shut_down_in_time, settings.stop_timeout * 1.1, name="bandmaster metric shutdown"
            )


@lifespan(band=LifespanBand.APPLICATION, name="runtime_metrics", when=makes_metrics)
async def runtime_metrics(
    provider: MeterProvider | None, settings: MetricsSettings, context: Context
) -> AsyncIterator[None]:
    """The metrics of pools and of the task queue, among all that has started."""
    if provider is None:
        yield
        return
    from bandmaster.contrib.tracing.metrics import catalogue
    from bandmaster.contrib.tracing.metrics.observed.pools import PoolMetrics, find_pools
    from bandmaster.contrib.tracing.metrics.observed.queues import find_queue

    meter = provider.get_meter(catalogue.SCOPE)
    pools = PoolMetrics()
    pools.register(meter)

    async def observe() -> None:
        resources = await context.wait_ready()
        pools.watch(find_pools(resources))
        queue = find_queue(resources, settings.queue_interval)
        if queue is not None:
            queue.register(meter)
            await queue.run()

    # Whatever fails there, the application goes on.
    context.supervise(observe, name=context.name, restart=Restart(when="never"))
    yield
    pools.watch(())
