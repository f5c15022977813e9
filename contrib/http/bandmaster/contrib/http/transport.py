"""Repeat failed attempts of a call, and give answers the limits of their call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

import anyio
import httpx2

from bandmaster.contrib.http.call_observers import ObservedAttempt
from bandmaster.contrib.http.calls import Calls
from bandmaster.contrib.http.errors import ClientLabel, http_errors, is_refused
from bandmaster.contrib.http.forwarding import Forwarding
from bandmaster.contrib.http.response import HttpResponse
from bandmaster.contrib.http.retries import IDEMPOTENT, REPEATED_STATUSES, RetryPolicy, read_retry_after
from bandmaster.kernel import get_logger

RETRY = "retry"
"""The request extension that says whether a call may be repeated; by default the method decides."""
_CONNECTION_ERRORS = (
    httpx2.NetworkError,
    httpx2.ConnectTimeout,
    httpx2.RemoteProtocolError,
    httpx2.ProxyError,
)
"""Errors of connections. A slow answer isn't one: repeating the call would make a slow service slower."""


class CallTransport(httpx2.AsyncBaseTransport):
    """Sends each request by another transport, as often as the policy allows.

    One attempt waits for the pool of the other transport only: a full pool isn't tried again.
    """

    def __init__(
        self,
        inner: httpx2.AsyncBaseTransport,
        *,
        calls: Calls,
        policy: RetryPolicy,
        forwarding: Forwarding,
        label: ClientLabel,
    ) -> None:
        self._inner = inner
        self._calls = calls
        self._policy = policy
        self._forwarding = forwarding
        self._label = label

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request, and repeat it where that may help and does no harm."""
        repeatable = may_repeat(request)
        attempts = 0
        while True:
            attempts += 1
            outgoing, attempt = self._forwarding.begin(request, self._calls.count_sending(request))
            failure: httpx2.TransportError | httpx2.Response
            try:
                failure = response = await self._send_once(outgoing, attempt)
            except _CONNECTION_ERRORS as error:
                pause = None if not repeatable or is_refused(error) else self._policy.find_pause(attempts)
                if pause is None or self._calls.is_too_late(request, pause):
                    raise
                failure = error
            else:
                pause = None
                if repeatable and response.status_code in REPEATED_STATUSES:
                    pause = self._policy.find_pause(attempts, read_retry_after(response.headers))
                if pause is None or self._calls.is_too_late(request, pause):
                    return self._limit_answer(request, response, attempt)
                try:
                    await response.aclose()
                finally:
                    if attempt is not None:
                        attempt.end()
            self._log_retry(request, failure, attempts, pause)
            await anyio.sleep(pause)

    async def _send_once(self, request: httpx2.Request, attempt: ObservedAttempt | None) -> httpx2.Response:
        """Send a request once. The attempt ends here if it has no answer, and with the answer's body otherwise."""
        if attempt is None:
            return await self._inner.handle_async_request(request)
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException as error:
            attempt.end(self._calls.find_cause(request, error))
            raise
        attempt.answer(response)
        return response

    def _limit_answer(
        self, request: httpx2.Request, response: httpx2.Response, attempt: ObservedAttempt | None
    ) -> httpx2.Response:
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        return HttpResponse(
            response.status_code,
            headers=response.headers,
            stream=LimitedStream(response.stream, request, self._calls, self._label, attempt),
            extensions=response.extensions,
            label=self._label,
        )

    def _log_retry(
        self, request: httpx2.Request, failure: httpx2.TransportError | httpx2.Response, attempts: int, pause: float
    ) -> None:
        get_logger("bandmaster.http").info(
            "HTTP call is repeated",
            client=self._label.name,
            method=request.method,
            host=request.url.host,
            reason=failure.status_code if isinstance(failure, httpx2.Response) else type(failure).__name__,
            attempts=attempts,
            pause=round(pause, 3),
        )


def may_repeat(request: httpx2.Request) -> bool:
    """Whether a request may be sent more than once.

    Raises:
        ValueError: the request is marked to be repeated, and its body can be read only once.
    """
    marked = request.extensions.get(RETRY)
    if marked not in (None, True, False):
        raise ValueError(f"extensions: expected True or False as {RETRY!r}, got {marked!r}")
    # Any other body is a stream, which the first attempt uses up.
    has_text = isinstance(request.stream, httpx2.ByteStream)
    if marked and not has_text:
        raise ValueError(
            f"extensions: {RETRY!r} is set, but the body of the {request.method} is a stream that can be read only "
            "once; pass bytes, or leave the mark out"
        )
    return has_text and (request.method in IDEMPOTENT if marked is None else marked)


class LimitedStream(httpx2.AsyncByteStream):
    """A body that must end within the deadline of its call, with this package's errors."""

    def __init__(
        self,
        inner: httpx2.AsyncByteStream,
        request: httpx2.Request,
        calls: Calls,
        label: ClientLabel,
        attempt: ObservedAttempt | None,
    ) -> None:
        self._inner = inner
        self._request = request
        self._calls = calls
        self._label = label
        self._attempt = attempt

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._inner)
        try:
            while True:
                try:
                    with http_errors(self._request, self._label), self._calls.limit(self._request):
                        chunk = await anext(chunks, None)
                except BaseException as error:
                    if self._attempt is not None:
                        self._attempt.end(error)
                    raise
                if chunk is None:
                    return
                yield chunk
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    async def aclose(self) -> None:
        """Close the body, and so its connection unless the body was read to its end."""
        try:
            await self._inner.aclose()
        finally:
            if self._attempt is not None:
                self._attempt.end()
