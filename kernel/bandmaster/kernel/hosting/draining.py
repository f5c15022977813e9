"""The drain of an application: announced once, waited for by every caller, bounded in time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import anyio

from bandmaster.kernel import events
from bandmaster.kernel.hosting.in_flight import InFlight
from bandmaster.kernel.lifecycle.kernel import Kernel

_LEAST_FOR_CLOSING = 1.0
"""Seconds for closing WebSockets where ``drain_timeout`` is shorter; closing rarely takes any time."""


class Drainer:
    """Drains one run of an application. ``refuse_requests`` is called when new requests are no longer accepted."""

    def __init__(self, kernel: Kernel, in_flight: InFlight, refuse_requests: Callable[[], None]) -> None:
        self._kernel = kernel
        self._in_flight = in_flight
        self._refuse_requests = refuse_requests
        self._timeout = kernel.settings.drain_timeout
        self._done: anyio.Event | None = None

    @property
    def has_run(self) -> bool:
        """Whether `drain` has been called."""
        return self._done is not None

    async def drain(self, delay: float) -> None:
        """Announce the drain, accept requests for ``delay`` seconds more, then wait for those in flight."""
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
                self._refuse_requests()
                tasks.start_soon(self._announce)  # to the WebSockets that were opened meanwhile
                with anyio.move_on_after(self._timeout):
                    await self._in_flight.wait_empty()
        finally:
            # Also where the drain is cancelled: other callers must not wait on, and no request may come in.
            self._refuse_requests()
            done.set()
        now = anyio.current_time()
        self._kernel.emit(events.Drained(at=now, took=now - began, left=self._in_flight.count))

    async def begin(self, delay: float) -> None:
        """Fail readiness, run the drain hooks, close WebSockets and notify streams. Requests are still accepted."""
        self._emit_draining(delay)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._kernel.drain)
            await self._announce()

    def _emit_draining(self, delay: float) -> None:
        if not self._in_flight.drain.begun:
            self._in_flight.drain.begin()
            self._kernel.emit(events.Draining(at=anyio.current_time(), delay=delay, timeout=self._timeout))

    async def _announce(self) -> None:
        # Bounded: sending to a client that reads nothing may block.
        with anyio.move_on_after(max(self._timeout, _LEAST_FOR_CLOSING)):
            await self._in_flight.announce_drain()
