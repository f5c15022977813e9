"""Locks by key across processes: a lease in a store that processes share, renewed while the lock is held."""

from __future__ import annotations

import random
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Protocol

import anyio

from bandmaster.contrib.oidc.errors import AuthUnavailableError
from bandmaster.contrib.oidc.local_locks import LocalLocks
from bandmaster.kernel import BandmasterError, get_logger

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.02, 0.25
"""Seconds between two attempts to acquire a lease; they double."""
_RELEASE_SECONDS = 5.0


class Leases(Protocol):
    """The leases of a store. Each ends after some seconds unless the owner renews the lease."""

    async def acquire(self, key: str, owner: str, seconds: float) -> bool:
        """Acquire the lease, if nobody else holds one. True also for the present owner."""
        ...

    async def renew(self, key: str, owner: str, seconds: float) -> bool:
        """Let the owner's lease last for ``seconds`` from now. False for anybody else."""
        ...

    async def release(self, key: str, owner: str) -> None:
        """End the owner's lease. No effect for anybody else."""
        ...


class SharedLocks:
    """One lock per key for all processes of a store.

    Of each process only one caller asks the store, and the others wait for that one. A lock is free
    ``lease`` seconds after the death of the process that holds the lock; ``wait`` is the longest wait for one.
    """

    def __init__(self, leases: Leases, *, lease: float, wait: float) -> None:
        self._leases = leases
        self._lease = lease
        self._wait = wait
        self._local = LocalLocks(wait)

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncGenerator[None, None]:
        """Hold the lock of a key until the block ends. Enter and leave the block in the same task.

        Raises:
            AuthUnavailableError: others hold the lock for too long, or the store can't be reached.
        """
        owner = secrets.token_hex(16)
        async with self._local.hold(key):
            failure: BaseException | None = None
            try:
                await self._acquire(key, owner)
                async with anyio.create_task_group() as renewal:
                    renewal.start_soon(self._renew_forever, key, owner)
                    try:
                        yield
                    except BaseException as error:  # noqa: BLE001  # raised below, as it is rather than in a group
                        failure = error
                    renewal.cancel_scope.cancel()
            finally:
                # Also when acquiring was cancelled: the store may have granted the lease all the same.
                await self._release(key, owner)
                if failure is not None:
                    raise failure

    async def _acquire(self, key: str, owner: str) -> None:
        end = anyio.current_time() + self._wait
        pause = _SHORTEST_PAUSE
        while not await self._leases.acquire(key, owner, self._lease):
            if anyio.current_time() + pause > end:
                raise AuthUnavailableError(
                    f"the lock of a session wasn't free within {self._wait:g} s: another process holds it for too long"
                )
            await anyio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  # callers that met once shall not meet again
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _renew_forever(self, key: str, owner: str) -> None:
        log = get_logger("bandmaster.oidc")
        while True:
            await anyio.sleep(self._lease / 3)
            try:
                held = await self._leases.renew(key, owner, self._lease)
            except BandmasterError as error:
                # The block goes on: its call to the provider can't be taken back.
                log.warning("the lock of a session can't be renewed", session=key[:12], error=str(error))
                continue
            if not held:
                log.warning(
                    "the lock of a session was lost: another process may refresh the same session",
                    session=key[:12],
                    lease=self._lease,
                )
                return

    async def _release(self, key: str, owner: str) -> None:
        with anyio.move_on_after(_RELEASE_SECONDS, shield=True):
            try:
                await self._leases.release(key, owner)
            except BandmasterError as error:
                # Not raised: the block's own result matters more, and the lease ends by itself.
                get_logger("bandmaster.oidc").warning(
                    "the lock of a session can't be released, and is free when its lease ends",
                    session=key[:12],
                    lease=self._lease,
                    error=str(error),
                )
