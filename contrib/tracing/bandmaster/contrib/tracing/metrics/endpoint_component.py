"""The component of the endpoint for Prometheus, on a port that one of the processes serves for all."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import anyio
from opentelemetry.metrics import MeterProvider

from bandmaster.contrib.tracing.component import PRIORITY
from bandmaster.contrib.tracing.metrics.activation import is_scraped
from bandmaster.contrib.tracing.metrics.scrapes import ScrapeEndpoint
from bandmaster.contrib.tracing.metrics.settings import MetricsSettings
from bandmaster.kernel import Context, LifespanBand, PermanentError, Restart, get_logger, lifespan

if TYPE_CHECKING:
    from bandmaster.contrib.tracing.metrics.prometheus.endpoint import MetricsEndpoint
    from bandmaster.contrib.tracing.metrics.prometheus.shared_folder import SharedFolder

__all__ = ["EndpointRefusedError", "metrics_endpoint"]

_TAKE_OVER_SECONDS = 0.5
"""Seconds between two looks whether the process that serves the port has ended."""


class EndpointRefusedError(PermanentError):
    """The endpoint can't be opened with these settings, which waiting doesn't mend."""


@lifespan(band=LifespanBand.OBSERVABILITY, priority=PRIORITY, name="metrics_endpoint", when=is_scraped)
async def metrics_endpoint(
    provider: MeterProvider, settings: MetricsSettings, context: Context
) -> AsyncIterator[ScrapeEndpoint]:
    """The endpoint for Prometheus: one process of those that share a folder serves the port, and collects from all."""
    from bandmaster.contrib.tracing.metrics.prometheus.endpoint import MetricsEndpoint
    from bandmaster.contrib.tracing.metrics.provider import ReadableMeterProvider

    if not isinstance(provider, ReadableMeterProvider) or provider.scrape_reader is None:
        raise EndpointRefusedError(
            f"the {type(provider).__name__} that provides MeterProvider in place of the component 'metrics' can't be "
            f"read by the endpoint for Prometheus; leave the endpoint out: BANDMASTER_DISABLE={context.name}"
        )
    endpoint = MetricsEndpoint(
        provider.scrape_reader.collect_families,
        name=context.plan.role or "app",
        folder=_find_folder(settings),
        token=None if settings.token is None else settings.token.get_secret_value(),
        path=settings.path,
        timeout=settings.scrape_timeout,
        report=_report_failure,
    )
    try:
        _join(endpoint, settings)
        if settings.port is not None:
            serving = PortServing(endpoint, settings.host, settings.port, settings.variable("port"))
            if not serving.try_once():
                context.supervise(serving.run, name=context.name, restart=Restart(when="never"))
        yield endpoint
    finally:
        endpoint.close()


class PortServing:
    """Serves the port as soon as this process can: at once, or when the process that serves the port has ended."""

    def __init__(self, endpoint: MetricsEndpoint, host: str, port: int, variable: str) -> None:
        self._endpoint = endpoint
        self._host = host
        self._port = port
        self._variable = variable
        self._told = False

    async def run(self) -> None:
        """Try again until the port is served."""
        while True:
            await anyio.sleep(_TAKE_OVER_SECONDS)
            if self.try_once():
                return

    def try_once(self) -> bool:
        """Try to serve the port; returns whether this process does.

        Raises:
            EndpointRefusedError: the address can't be used by any process.
        """
        try:
            number = self._endpoint.try_serve(self._host, self._port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise EndpointRefusedError(
                    f"the endpoint for Prometheus can't listen at {self._host}, port {self._port}: {error.strerror}. "
                    f"Is {self._variable} right?"
                ) from error
            self._tell_taken()
            return False
        if number is None:
            return False
        get_logger("bandmaster.metrics").info(
            "metrics are served", host=self._host, port=number, worker=self._endpoint.name
        )
        return True

    def _tell_taken(self) -> None:
        if not self._told:
            self._told = True
            get_logger("bandmaster.metrics").warning(
                "metrics aren't served: another program has the port",
                host=self._host,
                port=self._port,
                hint=f"another application on this machine needs another {self._variable}; other processes of this one "
                "share the port if they share METRICS_FOLDER. It is served as soon as it is free",
            )


def _find_folder(settings: MetricsSettings) -> SharedFolder | None:
    """The folder that the processes share; None where nothing tells which processes belong together."""
    from bandmaster.contrib.tracing.metrics.prometheus.shared_folder import SharedFolder, find_default_folder

    if settings.folder is not None:
        return SharedFolder(settings.folder, private=False)
    if settings.port:
        return SharedFolder(find_default_folder(settings.port), private=True)
    return None


def _join(endpoint: MetricsEndpoint, settings: MetricsSettings) -> None:
    try:
        endpoint.join()
    except OSError as error:
        if settings.folder is not None:
            raise EndpointRefusedError(
                f"the folder {settings.folder} can't be shared with other processes: {error.strerror or error}. Name "
                f"another by {settings.variable('folder')}"
            ) from error
        get_logger("bandmaster.metrics").warning(
            "scrapes have the metrics of one process alone: the processes can't share a folder",
            error=str(error),
            hint=f"name a folder that all processes may write to by {settings.variable('folder')}",
        )


def _report_failure(error: BaseException) -> None:
    get_logger("bandmaster.metrics").error("a scrape has failed", error=type(error).__name__, exception=error)
