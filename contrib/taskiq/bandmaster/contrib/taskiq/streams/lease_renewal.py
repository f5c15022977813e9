"""Renews leases in a thread of its own: a task may block the event loop for longer than a lease."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from bandmaster.contrib.redis import RedisSettings, open_client
from bandmaster.contrib.taskiq.logger import get_logger
from bandmaster.contrib.taskiq.streams.client_settings import make_renewal_settings
from bandmaster.contrib.taskiq.streams.leases import Lease, Leases, Ownership
from bandmaster.contrib.taskiq.streams.lua import WINDOW
from bandmaster.contrib.taskiq.streams.message_scripts import RENEW
from bandmaster.contrib.taskiq.streams.options import LeasedStreamOptions
from bandmaster.contrib.taskiq.streams.retry_backoff import RetryBackoff
from bandmaster.contrib.taskiq.streams.script_runner import ScriptRunner, lacks_group
from bandmaster.kernel import BandmasterError, PermanentError

_JOIN_SECONDS = 5.0
_CANCEL_SECONDS = 0.1


class LeaseRenewal:
    """Renews all leases three times in their duration, and sends no command while there are none."""

    def __init__(
        self,
        leases: Leases,
        options: LeasedStreamOptions,
        settings: RedisSettings,
        consumer: str,
        report_lost: Callable[[Sequence[Lease]], None],
    ) -> None:
        self._leases = leases
        self._options = options
        self._settings = make_renewal_settings(settings, options.lease)
        self._consumer = consumer
        self._report_lost = report_lost
        self._backoff = RetryBackoff("renewing leases", queue=options.queue, consumer=consumer)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"leases of {consumer}", daemon=True)
        # All three are made in the thread.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._some: asyncio.Event | None = None
        self._idle = False
        self._stopping = self._closing = False

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Begin to renew, after a lease was acquired."""
        if self._idle and self._loop is not None and self._some is not None:
            self._idle = False
            with suppress(RuntimeError):  # the thread's loop has ended
                self._loop.call_soon_threadsafe(self._some.set)

    async def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._ready.wait(_JOIN_SECONDS)
        end = time.monotonic() + _JOIN_SECONDS
        while self._thread.is_alive() and time.monotonic() < end:
            # More than once: `asyncio.wait_for`, which redis-py uses to send, loses a cancellation that arrives just as
            # it ends (before Python 3.12).
            if self._loop is not None:
                with suppress(RuntimeError):  # the thread's loop has ended
                    self._loop.call_soon_threadsafe(self._cancel)
            await asyncio.to_thread(self._thread.join, _CANCEL_SECONDS)

    def _cancel(self) -> None:
        if self._main is not None and not self._closing:
            self._main.cancel()

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._renew_forever())

    async def _renew_forever(self) -> None:
        self._main = asyncio.current_task()
        self._some = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._ready.set()
        options = self._options
        async with open_client(self._settings, "leases") as client:
            runner = ScriptRunner(client, options.keys, options.group, self._consumer)
            pause = options.renewal_interval
            try:
                while not self._stopping:
                    await self._wait_for_lease(self._some)
                    await asyncio.sleep(pause)
                    pause = options.renewal_interval if await self._renew(runner) else min(1.0, options.lease / 10)
            finally:
                self._closing = True

    async def _wait_for_lease(self, some: asyncio.Event) -> None:
        some.clear()
        self._idle = True
        # Checked after _idle is set. A lease acquired before that is seen here; the code that acquires one later calls
        # `wake`. Checked before, a lease acquired in between would be missed.
        if not self._leases:
            await some.wait()
        self._idle = False

    async def _renew(self, runner: ScriptRunner) -> bool:
        forget_abandoned(self._leases, self._options)
        try:
            await renew(runner, self._leases, self._leases.list_held(), self._report_lost)
        except BandmasterError as error:
            self._backoff.record_failure(error)
            return isinstance(error, PermanentError)
        self._backoff.record_success()
        return True


def forget_abandoned(leases: Leases, options: LeasedStreamOptions) -> None:
    """Renew no longer the leases of messages that no code can end, and log their number."""
    if abandoned := leases.forget_abandoned():
        get_logger().warning(
            "messages were dropped before their end; they are redelivered when their leases expire",
            count=len(abandoned),
            lease=options.lease,
            queue=options.queue,
        )


async def renew(
    runner: ScriptRunner, leases: Leases, some: Iterable[Lease], report_lost: Callable[[Sequence[Lease]], None]
) -> None:
    """Renew some leases, and report those that another consumer has by now.

    Raises:
        TransientError: the server can't be reached.
        PermanentError: the server refuses.
    """
    ours = [lease for lease in some if lease.ownership is Ownership.OURS]
    for start in range(0, len(ours), WINDOW):
        renewed = {lease.id: lease for lease in ours[start : start + WINDOW]}
        asked = time.monotonic()
        try:
            taken, gone = await runner.run(RENEW, *renewed)
        except BandmasterError as error:
            if not lacks_group(error):
                raise
            taken, gone = [], [one.encode() for one in renewed]
        lost = [renewed.pop(one.decode()) for one in taken]
        leases.mark_lost([renewed.pop(one.decode()) for one in gone], Ownership.GONE)
        leases.extend(renewed.values(), asked)
        if news := leases.mark_lost(lost, Ownership.TAKEN):
            report_lost(news)
