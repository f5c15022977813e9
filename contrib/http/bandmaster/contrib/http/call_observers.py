"""Observers of calls, such as tracing, which are told of the begin and the end of each attempt."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import httpx2

from bandmaster.kernel import get_logger

URL_TEMPLATE = "url_template"
"""The request extension that names the route of the other service, such as ``/users/{id}``, for observers."""


@dataclass(frozen=True, slots=True, eq=False)
class CallAttempt:
    """One request that is about to be sent. A repeated call has several, and so has one that follows redirects."""

    client: str
    """The name of the client's component, such as ``http``."""
    method: str
    url: httpx2.URL
    """The whole URL. Paths and queries may hold keys, as webhooks' do, and the URL may have a password."""
    resends: int
    """How often a request of the same call was sent before, by a repetition or a redirect."""
    template: str | None
    """The request's extension ``url_template``, such as ``/users/{id}``; None without one."""
    forwards_trace: bool
    """Whether the settings name the host among those that get the trace (``HTTP_FORWARD_HOSTS``)."""
    forwards_baggage: bool
    """Whether the settings name the host among those that get the baggage (``HTTP_FORWARD_BAGGAGE_HOSTS``)."""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    """Headers in small letters that observers add. Those that the caller has set take precedence."""


@dataclass(frozen=True, slots=True)
class CallEnd:
    """The end of an attempt: its answer was read or closed, or the attempt has failed."""

    seconds: float
    """The time from the begin of the attempt to its end."""
    status: int | None = None
    """The status of the answer; None without an answer."""
    protocol: str | None = None
    """The protocol of the answer, such as ``HTTP/1.1``."""
    error: BaseException | None = None
    """The failure, also one while the body was read. A status of failure isn't an error here."""


class ReportEnd(Protocol):
    """A function that is called once, with the end of an attempt."""

    def __call__(self, end: CallEnd, /) -> object:
        """Note the end."""
        ...


class CallObserver(Protocol):
    """Observes the calls of all clients of the application. A component provides one.

    ```python
    @lifespan(band=LifespanBand.OBSERVABILITY)
    async def call_times() -> AsyncIterator[CallObserver]:
        yield CallTimes()
    ```

    The event loop calls the methods, which must not block. Their exceptions are logged.
    """

    carries_trace: bool = False
    """Whether the observer adds the headers of the trace, in place of OpenTelemetry's global propagator."""

    def observe_call(self, attempt: CallAttempt) -> ReportEnd | None:
        """Note an attempt that begins, and return the function that notes its end."""
        ...


class CallObservers:
    """The observers of a client."""

    __slots__ = ("_client", "_observers", "carries_trace")

    def __init__(self, client: str, observers: Sequence[CallObserver]) -> None:
        self._client = client
        self._observers = tuple(observers)
        self.carries_trace = any(getattr(observer, "carries_trace", False) for observer in observers)

    def begin(
        self, request: httpx2.Request, *, resends: int, forwards_trace: bool, forwards_baggage: bool
    ) -> ObservedAttempt | None:
        """Report an attempt; None without observers. Never raises."""
        if not self._observers:
            return None
        template = request.extensions.get(URL_TEMPLATE)
        attempt = CallAttempt(
            self._client,
            request.method,
            request.url,
            resends,
            template if isinstance(template, str) else None,
            forwards_trace=forwards_trace,
            forwards_baggage=forwards_baggage,
        )
        ends: list[ReportEnd] = []
        for observer in self._observers:
            try:
                if (end := observer.observe_call(attempt)) is not None:
                    ends.append(end)
            except Exception as error:  # noqa: BLE001  # an observer raises errors of any type, and the call goes on
                _log_failure(observer, error)
        return ObservedAttempt(attempt.headers, ends)


class ObservedAttempt:
    """An attempt that observers know of."""

    __slots__ = ("_began", "_ends", "_protocol", "_status", "headers")

    def __init__(self, headers: dict[str, str], ends: Sequence[ReportEnd]) -> None:
        self.headers = headers
        """The headers that the observers add."""
        self._ends = ends
        self._began = time.perf_counter()
        self._status: int | None = None
        self._protocol: str | None = None

    def answer(self, response: httpx2.Response) -> None:
        """Note the answer. The attempt goes on until the body is read or closed."""
        self._status, self._protocol = response.status_code, response.http_version

    def end(self, error: BaseException | None = None) -> None:
        """Report the end. Further calls do nothing. Never raises."""
        ends, self._ends = self._ends, ()
        if not ends:
            return
        ended = CallEnd(time.perf_counter() - self._began, self._status, self._protocol, error)
        for end in ends:
            try:
                end(ended)
            except Exception as failure:  # noqa: BLE001  # as above
                _log_failure(end, failure)


def _log_failure(observer: object, error: Exception) -> None:
    get_logger("bandmaster.http").error(
        "an observer of HTTP calls failed",
        observer=getattr(observer, "__qualname__", type(observer).__qualname__),
        exception=error,
        error=type(error).__name__,
    )
