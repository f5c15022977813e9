"""Doing something once for a key, by whichever process comes first."""

from __future__ import annotations

import heapq
import json
import math
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol
from uuid import uuid4

import anyio
from redis.asyncio import Redis

from bandmaster.contrib.taskiq.idempotency.key_lease import BusyError, Hold, busy
from bandmaster.kernel import PermanentError

__all__ = ["BusyError", "Idempotency", "MemoryIdempotency", "Once", "RedisIdempotency"]


class Once:
    """What became of asking: true for whoever is to do it."""

    def __init__(self, *, first: bool, result: Any = None) -> None:
        self.first = first
        self.result = result
        """What the one who did it has stored; None where that was nothing."""
        self._text = "null"

    def __bool__(self) -> bool:
        return self.first

    def store(self, value: Any) -> None:
        """Keep what JSON can express beside the mark that it has been done; others get it as ``result``.

        Raises:
            PermanentError: JSON can't express it, or it isn't this one's to do.
        """
        if not self.first:
            raise PermanentError("nothing can be stored by who came later: the result is that of the first")
        try:
            self._text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise PermanentError(f"store: JSON can't express this {type(value).__qualname__}: {error}") from error
        self.result = json.loads(self._text)

    @property
    def stored(self) -> str:
        """What has been stored, as JSON."""
        return self._text


class Idempotency(Protocol):
    """Remembers what has been done, by keys."""

    def once(self, key: str, *, lease: float = 30.0, keep: float = 86400.0) -> AbstractAsyncContextManager[Once]:
        """Do something once for a key.

        ::

            async with idempotency.once(f"charge:{order}") as first:
                if first:
                    first.store(await charge(order))
            return first.result

        When the block ends, that it was done is remembered for ``keep`` seconds; when it raises, the key is free again.
        Whoever dies in it frees the key after ``lease`` seconds; while the block runs the lease is renewed. Enter and
        leave it in the same task.

        It can't promise that the effect happens exactly once: a process may die between the effect and the mark, and a
        process that stands still for longer than its lease may go on beside the next one. Then it happens again. Where
        that mustn't be, put the mark into the same database transaction as the effect.

        Raises:
            BusyError: somebody else is doing it right now.
            ValueError: the key is empty, or the seconds aren't above 0.
        """
        ...


class RedisIdempotency:
    """Remembers in Redis, at ``<prefix>once:<key>``; the client is one of `bandmaster.contrib.redis`."""

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client = client
        self._prefix = f"{prefix}once:"

    @asynccontextmanager
    async def once(self, key: str, *, lease: float = 30.0, keep: float = 86400.0) -> AsyncGenerator[Once, None]:
        """As `Idempotency.once`.

        Raises:
            BusyError: somebody else is doing it right now.
            TransientError: Redis can't be asked; nothing has been done then.
            ValueError: the key is empty, or the seconds aren't above 0.
        """
        _check(key, lease, keep)
        hold = Hold(self._client, f"{self._prefix}{key}", key, uuid4().hex, lease)
        found = await hold.begin()
        if found is not None:
            yield Once(first=False, result=found[0])
            return
        once = Once(first=True)
        failure: BaseException | None = None
        try:
            async with anyio.create_task_group() as renewal:
                renewal.start_soon(hold.renew)
                try:
                    yield once
                except BaseException as error:  # noqa: BLE001  # raised below, as it is rather than in a group
                    failure = error
                renewal.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await (hold.done(once.stored, keep) if failure is None else hold.forget())
            if failure is not None:
                raise failure


class MemoryIdempotency:
    """Remembers in this process; a lease ends with the block. ``clock`` tells seconds that only increase."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._busy: set[str] = set()
        self._done: dict[str, tuple[float, str]] = {}
        self._ends: list[tuple[float, str]] = []

    @asynccontextmanager
    async def once(self, key: str, *, lease: float = 30.0, keep: float = 86400.0) -> AsyncGenerator[Once, None]:
        """As `Idempotency.once`.

        Raises:
            BusyError: somebody else is doing it right now.
            ValueError: the key is empty, or the seconds aren't above 0.
        """
        _check(key, lease, keep)
        self._forget_old()
        if key in self._busy:
            raise busy(key)
        if key in self._done:
            yield Once(first=False, result=json.loads(self._done[key][1]))
            return
        once = Once(first=True)
        self._busy.add(key)
        try:
            yield once
            end = self._clock() + keep
            self._done[key] = end, once.stored
            heapq.heappush(self._ends, (end, key))
        finally:
            self._busy.discard(key)

    def _forget_old(self) -> None:
        now = self._clock()
        while self._ends and self._ends[0][0] <= now:
            _, key = heapq.heappop(self._ends)
            del self._done[key]


def _check(key: str, lease: float, keep: float) -> None:
    if not key:
        raise ValueError("key: expected a text that says what is done, got an empty one")
    for name, seconds in {"lease": lease, "keep": keep}.items():
        if not (seconds > 0 and math.isfinite(seconds)):
            raise ValueError(f"{name}: expected seconds above 0, got {seconds}")
