"""A thread that renews leases. A task may block the event loop for longer than a lease, but not this."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from bandmaster.contrib.redis import RedisSettings, open_client
from bandmaster.contrib.taskiq.streams.client_settings import renewing
from bandmaster.contrib.taskiq.streams.leases import Lease, Leases, Standing
from bandmaster.contrib.taskiq.streams.message_scripts import RENEW, WINDOW
from bandmaster.contrib.taskiq.streams.options import LeasedStreamOptions
from bandmaster.contrib.taskiq.streams.outage import Outage, log
from bandmaster.contrib.taskiq.streams.script_runner import Link, lacks_group
from bandmaster.kernel import BandmasterError, PermanentError

_JOIN_SECONDS = 5.0
_CANCEL_SECONDS = 0.1


class Renewal:
    """Renews all leases thrice in their time, and asks nothing while there are none."""

    def __init__(
        self,
        leases: Leases,
        options: LeasedStreamOptions,
        settings: RedisSettings,
        consumer: str,
        tell_lost: Callable[[Sequence[Lease]], None],
    ) -> None:
        self._leases = leases
        self._options = options
        self._settings = renewing(settings, options.lease)
        self._consumer = consumer
        self._tell_lost = tell_lost
        self._outage = Outage("renewing leases", queue=options.queue, consumer=consumer)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"leases of {consumer}", daemon=True)
        # All three are made in the thread.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._some: asyncio.Event | None = None
        self._idle = False
        self._stopping = self._closing = False

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def wake(self) -> None:
        """There is something to be renewed."""
        if self._idle and self._loop is not None and self._some is not None:
            self._idle = False
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._some.set)

    async def stop(self) -> None:
        """Come to the end."""
        self._stopping = True
        self._ready.wait(_JOIN_SECONDS)
        end = time.monotonic() + _JOIN_SECONDS
        while self._thread.is_alive() and time.monotonic() < end:
            # More than once: `asyncio.wait_for`, by which redis-py sends, loses a cancellation that comes as it ends
            # (before Python 3.12).
            if self._loop is not None:
                with suppress(RuntimeError):  # it has ended
                    self._loop.call_soon_threadsafe(self._cancel)
            await asyncio.to_thread(self._thread.join, _CANCEL_SECONDS)

    def _cancel(self) -> None:
        if self._main is not None and not self._closing:
            self._main.cancel()

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._renew_always())

    async def _renew_always(self) -> None:
        self._main = asyncio.current_task()
        self._some = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._ready.set()
        options = self._options
        async with open_client(self._settings, "leases") as client:
            link = Link(client, options.keys, options.group, self._consumer)
            pause = options.renewal
            try:
                while not self._stopping:
                    await self._wait_for_some(self._some)
                    await asyncio.sleep(pause)
                    pause = options.renewal if await self._renew(link) else min(1.0, options.lease / 10)
            finally:
                self._closing = True

    async def _wait_for_some(self, some: asyncio.Event) -> None:
        some.clear()
        self._idle = True
        # Looked at after the line above: who takes one before it isn't heard, who does so after it calls `wake`.
        if not self._leases:
            await some.wait()
        self._idle = False

    async def _renew(self, link: Link) -> bool:
        let_dropped_go(self._leases, self._options)
        try:
            await renew(link, self._leases, self._leases.held(), self._tell_lost)
        except BandmasterError as error:
            self._outage.failed(error)
            return isinstance(error, PermanentError)
        self._outage.over()
        return True


def let_dropped_go(leases: Leases, options: LeasedStreamOptions) -> None:
    """Renew no longer what nobody can come to the end of."""
    if dropped := leases.collect_dropped():
        log().warning(
            "messages were dropped before their end; they are given out again when their leases are over",
            count=len(dropped),
            lease=options.lease,
            queue=options.queue,
        )


async def renew(
    link: Link, leases: Leases, some: Iterable[Lease], tell_lost: Callable[[Sequence[Lease]], None]
) -> None:
    """Renew these, and say which are lost.

    Raises:
        TransientError: the server can't be asked.
        PermanentError: it refuses.
    """
    ours = [lease for lease in some if lease.standing is Standing.OURS]
    for start in range(0, len(ours), WINDOW):
        asked_about = {lease.id: lease for lease in ours[start : start + WINDOW]}
        asked = time.monotonic()
        try:
            theirs, gone = await link.run(RENEW, *asked_about)
        except BandmasterError as error:
            if not lacks_group(error):
                raise
            theirs, gone = [], [one.encode() for one in asked_about]
        lost = [asked_about.pop(one.decode()) for one in theirs]
        leases.found([asked_about.pop(one.decode()) for one in gone], Standing.GONE)
        leases.renewed(asked_about.values(), asked)
        if news := leases.found(lost, Standing.THEIRS):
            tell_lost(news)
