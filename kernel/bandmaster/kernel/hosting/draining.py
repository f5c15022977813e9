"""The drain of an application: announced once, waited for by every caller, bounded in time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
from starlette.types import Scope, Send

from bandmaster.kernel import events
from bandmaster.kernel.hosting.in_flight import InFlight
from bandmaster.kernel.hosting.not_serving import describe_absence
from bandmaster.kernel.hosting.responses import refuse_request
from bandmaster.kernel.lifecycle.kernel import Kernel
from bandmaster.kernel.text import render_duration

CloseServer = Callable[[], Awaitable[object]]
"""Has the server accept no more connections. Requests are accepted by the application until the function returns."""

CLEAN_UP_PATIENCE = 1.0
"""Seconds that requests get to clean up after they have been cancelled."""

_LEAST_FOR_CLOSING = 1.0
"""Seconds for closing WebSockets where ``drain_timeout`` is shorter; closing rarely takes any time."""


class Drainer:
    """Drains one run of an application. ``refuse_requests`` is called when new requests are no longer accepted."""

    def __init__(self, kernel: Kernel, in_flight: InFlight, refuse_requests: Callable[[], None]) -> None:
        self.cancelled = 0
        """How many requests and WebSockets were still in flight when the time was over, and were cancelled."""
        self._kernel = kernel
        self._in_flight = in_flight
        self._refuse_requests = refuse_requests
        self._timeout = kernel.settings.drain_timeout
        self._done: anyio.Event | None = None

    @property
    def has_run(self) -> bool:
        """Whether `drain` has been called."""
        return self._done is not None

    async def drain(self, delay: float, close_server: CloseServer | None = None) -> None:
        """Announce the drain, accept requests for ``delay`` seconds more, then end those in flight."""
        if self._done is not None:
            await self._done.wait()
            return
        done = self._done = anyio.Event()
        began = anyio.current_time()
        self._emit_draining(delay)  # before any request can be refused: the tasks begin in no certain order
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(self.begin, delay))
                await anyio.sleep(delay)
                await self._end_requests(close_server)
            await self.cancel_requests()
        finally:
            # Also where the drain is cancelled: other callers must not wait on, and no request may come in.
            self._refuse_requests()
            done.set()
        now = anyio.current_time()
        self._kernel.emit(events.Drained(at=now, took=now - began, left=self.cancelled))

    async def begin(self, delay: float) -> None:
        """Fail readiness, run the drain hooks, close WebSockets and notify streams. Requests are still accepted."""
        self._emit_draining(delay)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._kernel.drain)
            await self._announce()

    async def cancel_requests(self) -> None:
        """Cancel all that is in flight, and wait a moment for the clean-up: components are about to stop."""
        self._refuse_requests()
        if not self._in_flight.count:
            return
        self.cancelled += self._in_flight.count
        for description in await self._in_flight.cancel_all(CLEAN_UP_PATIENCE):
            patience = render_duration(CLEAN_UP_PATIENCE)
            message = f"a request ignores its cancellation for {patience}, and components stop under it: {description}"
            self._kernel.emit(events.Warned(at=anyio.current_time(), component="application", message=message))

    def _emit_draining(self, delay: float) -> None:
        if not self._in_flight.drain.begun:
            self._in_flight.drain.begin()
            self._kernel.emit(events.Draining(at=anyio.current_time(), delay=delay, timeout=self._timeout))

    async def _end_requests(self, close_server: CloseServer | None) -> None:
        """Wait for the requests in flight. Streams that go on for half of the time are disconnected."""
        over = anyio.Event()

        async def wait_over() -> None:
            # Before the server is asked to stop: granian sends no close after that, and uvicorn a 500 to handshakes.
            with anyio.move_on_after(_LEAST_FOR_CLOSING):
                await self._announce(self._refuse_handshake)
            if close_server is not None:
                await close_server()
            self._refuse_requests()
            await self._announce(self._refuse_handshake)  # to the WebSockets that came in meanwhile
            await self._in_flight.wait_empty()
            over.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_over)
            with anyio.move_on_after(self._timeout / 2):
                await over.wait()
            if not over.is_set():
                # Not at once: many a stream has an end of its own, such as a download, and those that know the drain
                # want to say goodbye.
                self._in_flight.disconnect_streams()
                with anyio.move_on_after(self._timeout / 2):
                    await over.wait()
            tasks.cancel_scope.cancel()

    async def _announce(self, refuse_handshake: Callable[[Scope, Send], Awaitable[object]] | None = None) -> None:
        # Bounded: sending to a client that reads nothing may block.
        with anyio.move_on_after(max(self._timeout, _LEAST_FOR_CLOSING)):
            await self._in_flight.announce_drain(refuse_handshake)

    async def _refuse_handshake(self, scope: Scope, send: Send) -> None:
        detail = describe_absence(self._kernel.phase, was_started=True)
        await refuse_request(scope, send, self._kernel.settings.retry_after, detail=detail)
