"""A lease on an idempotency key in Redis, held while the action of the key runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import anyio
from redis.asyncio import Redis

from bandmaster.contrib.taskiq.idempotency.idempotency import make_busy_error
from bandmaster.contrib.taskiq.logger import get_logger
from bandmaster.kernel import BandmasterError, PermanentError, TransientError

_MARKING_SECONDS = 5.0
"""For this long the mark of a finished action is tried."""

# A key holds `busy:<token>` or `done:<token>:<json>`. Each block has a token of its own: a command that is sent again,
# because its answer was lost, finds the token and knows that the first try had succeeded.
_ACQUIRE = """
local found = redis.call('GET', KEYS[1])
if found and found ~= ARGV[1] then return {found, redis.call('PTTL', KEYS[1])} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
"""
_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_MARK_DONE = """
local found = redis.call('GET', KEYS[1])
if found and found ~= ARGV[1] and found ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


@dataclass(slots=True)
class KeyLease:
    """One block's lease on a key."""

    client: Redis
    redis_key: str
    key: str
    token: str
    seconds: float
    lost: bool = False

    @property
    def mark(self) -> str:
        """The value of the key while the lease is held."""
        return f"busy:{self.token}"

    async def acquire(self) -> tuple[Any] | None:
        """Acquire the lease and return None, or return the stored result if the action has been done.

        Raises:
            BusyError: another process holds the lease.
            PermanentError: the key holds something else.
        """
        answer = await self.client.eval(_ACQUIRE, 1, self.redis_key, self.mark, _to_milliseconds(self.seconds))
        if answer is None:
            return None
        found, left = answer
        state, _, rest = (found if isinstance(found, str) else found.decode(errors="replace")).partition(":")
        if state != "done":
            raise make_busy_error(self.key, max(0, left) / 1000)
        try:
            return (json.loads(rest.partition(":")[2]),)
        except ValueError as error:
            raise PermanentError(
                f"the idempotency key {self.key!r} holds no JSON at {self.redis_key!r} in Redis; another program may "
                "write there"
            ) from error

    async def renew_forever(self) -> None:
        """Renew the lease until cancelled, or until another process holds the key."""
        while True:
            await anyio.sleep(self.seconds / 3)
            try:
                held = await self.client.eval(_RENEW, 1, self.redis_key, self.mark, _to_milliseconds(self.seconds))
            except BandmasterError as error:
                # The block goes on: whether the lease is lost shows when the mark is written.
                get_logger().warning("lease can't be renewed", key=self.key, error=str(error))
                continue
            if not held:
                self._lose()
                return

    async def mark_done(self, stored: str, keep: float) -> None:
        """Mark the action as done for ``keep`` seconds, unless another process holds the key by now."""
        text = f"done:{self.token}:{stored}"
        end = anyio.current_time() + min(_MARKING_SECONDS, self.seconds)
        while True:
            try:
                marked = await self.client.eval(_MARK_DONE, 1, self.redis_key, self.mark, text, _to_milliseconds(keep))
            except BandmasterError as error:
                if isinstance(error, TransientError) and anyio.current_time() < end:
                    await anyio.sleep(0.2)
                    continue
                # Not raised: a caller that retried would certainly do the action twice.
                get_logger().error(
                    "action done, but its mark can't be written: it may be done again", key=self.key, error=str(error)
                )
                return
            if not marked:
                self._lose()
            return

    async def release(self) -> None:
        """Free the key."""
        try:
            await self.client.eval(_RELEASE, 1, self.redis_key, self.mark)
        except BandmasterError as error:
            # Not raised: the error of the block matters more.
            get_logger().warning(
                "key can't be released until its lease expires", key=self.key, seconds=self.seconds, error=str(error)
            )

    def _lose(self) -> None:
        if not self.lost:
            self.lost = True
            get_logger().warning(
                "lease lost: another process may do the same action", key=self.key, seconds=self.seconds
            )


def _to_milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
