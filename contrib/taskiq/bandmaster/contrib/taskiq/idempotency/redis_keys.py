"""Idempotency across processes, by keys in Redis."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import uuid4

import anyio
from redis.asyncio import Redis

from bandmaster.contrib.taskiq.idempotency.idempotency import Once, check_arguments
from bandmaster.contrib.taskiq.idempotency.key_lease import KeyLease


class RedisIdempotency:
    """Keys in Redis, at ``<prefix>once:<key>``. The client is one of `bandmaster.contrib.redis`."""

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client = client
        self._prefix = f"{prefix}once:"

    @asynccontextmanager
    async def once(self, key: str, *, lease: float = 30.0, keep: float = 86400.0) -> AsyncGenerator[Once, None]:
        """See `Idempotency.once`.

        Raises:
            BusyError: another caller runs the action right now.
            TransientError: Redis can't be reached; nothing has been done then.
            ValueError: the key is empty, or the seconds aren't above 0.
        """
        check_arguments(key, lease, keep)
        key_lease = KeyLease(self._client, f"{self._prefix}{key}", key, uuid4().hex, lease)
        found = await key_lease.acquire()
        if found is not None:
            yield Once(first=False, result=found[0])
            return
        once = Once(first=True)
        failure: BaseException | None = None
        try:
            async with anyio.create_task_group() as renewal:
                renewal.start_soon(key_lease.renew_forever)
                try:
                    yield once
                except BaseException as error:  # noqa: BLE001  # raised below, as it is rather than in a group
                    failure = error
                renewal.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await (key_lease.mark_done(once.stored, keep) if failure is None else key_lease.release())
            if failure is not None:
                raise failure
