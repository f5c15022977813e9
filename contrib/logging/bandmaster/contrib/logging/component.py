"""The log as a component: first of all components to start, and last to stop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial

import anyio

from bandmaster.contrib.logging.access_sink import AccessEvents
from bandmaster.contrib.logging.log import Log, make_log
from bandmaster.contrib.logging.pipeline import OWN_LOGGER, Pipeline
from bandmaster.contrib.logging.settings import LogSettings
from bandmaster.contrib.logging.takeover.process_log import PROCESS_LOG
from bandmaster.contrib.web import InstalledAccessSink, WebSettings
from bandmaster.kernel import (
    Application,
    CheckContribution,
    Context,
    KernelSettings,
    LifespanBand,
    Plan,
    Problem,
    Redactor,
    ServerSettings,
    get_logger,
    lifespan,
    load_settings,
)

_FIRST = LifespanBand.OBSERVABILITY.priorities[0]
_LOOK = 1.0
"""Seconds between two looks at whether other code has configured logging anew, and at repeated events."""
_CLOSING = 2.0
"""Seconds for the end of the thread that writes, beyond those for the events that are left."""


@lifespan(band=LifespanBand.OBSERVABILITY, priority=_FIRST, name="redactor")
async def redactor(settings: LogSettings) -> AsyncIterator[Redactor]:
    """Replaces secrets in logs, traces and audit entries, with the keys that the settings of the log name."""
    yield settings.make_redactor()


def find_idle_settings(settings: LogSettings, kernel: KernelSettings) -> Iterator[Problem | str]:
    """The settings of the launcher's log that those of this package replace, and settings without effect."""
    for name in ("format", "level"):
        own, other = getattr(settings, name), getattr(kernel, f"log_{name}")
        given = name in settings.model_fields_set and own is not None
        if given and f"log_{name}" in kernel.model_fields_set and own != other:
            yield (
                f"{settings.variable(name)}={own} is used while the application runs; "
                f"{kernel.variable(f'log_{name}')}={other} only before its start and after its stop."
            )
    if settings.take_over == "never":
        kept = ("take_over", "no_color")
        names = (name for name in type(settings).model_fields if name not in kept and not name.startswith("redact_"))
        idle = ", ".join(settings.variable(name) for name in names if name in settings.model_fields_set)
        if idle:
            yield f"{settings.variable('take_over')} is never, so these have no effect: {idle}."


@lifespan(
    band=LifespanBand.OBSERVABILITY,
    priority=_FIRST,
    name="logging",
    check=find_idle_settings,
    provides=(Log,),
)
async def logging(settings: LogSettings, redactor: Redactor, context: Context) -> AsyncIterator[Log]:
    """Writes the log of the whole process in one format: the application's, its libraries' and the server's."""
    log = make_log(settings, context.settings, redactor, drops_access=_has_access_log(context.plan))
    try:
        with log.taking_over():
            if log.is_active:
                context.supervise(partial(_look_after, log.pipeline), name="log")
            yield log
        context.extend_timeout(settings.flush_timeout + _CLOSING)
        # Without blocking the event loop, in which other applications may run.
        with anyio.move_on_after(settings.flush_timeout):
            while not log.sink.is_empty:  # noqa: ASYNC110  # a thread empties it, and has no event of the loop
                await anyio.sleep(0.005)
    finally:
        log.sink.close()


@lifespan(band=LifespanBand.OBSERVABILITY, priority=_FIRST, name="access_events")
async def access_events(log: Log) -> AsyncIterator[InstalledAccessSink]:
    """Makes an event of the log of each request, in place of a line of the access log."""
    yield AccessEvents(log.pipeline, is_active=log.is_active)


async def _look_after(pipeline: Pipeline) -> None:
    while True:
        await anyio.sleep(_LOOK)
        if PROCESS_LOG.take_again():
            get_logger(OWN_LOGGER).warning(
                "logging was configured anew while the application ran, and is taken over again",
                hint="leave logging.config and alembic's fileConfig out, or set LOG_TAKE_OVER=never",
            )
        pipeline.tell_repeats()


def _has_access_log(plan: Plan) -> bool:
    """Whether bandmaster-web logs requests, so that the server's own lines would be a second log of them."""
    settings = plan.settings_of(WebSettings)
    return any(layer.name == "access_log" for layer in plan.layers) and (
        settings is None or settings.access_log != "off"
    )


def _check_application(application: Application) -> Iterator[Problem | str]:
    plan = application.plan
    settings = plan.settings_of(LogSettings)
    if "logging" not in plan.by_name or settings is None or settings.take_over == "never" or not _has_access_log(plan):
        return
    with application.kernel.use_environment():
        server = load_settings(ServerSettings)
    if server.access_log:
        yield (
            f"{server.variable('access_log')} has no effect while bandmaster-web logs requests: each has one event. "
            f"Unset it, or set {WebSettings.variable('access_log')}=off to have the server's lines."
        )


server_access_log = CheckContribution(
    name="server_access_log",
    check=_check_application,
    description="Finds a server's access log that is switched on beside the log's own event for each request.",
)
