"""A process's hold on a key in Redis, for as long as it does what the key stands for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import anyio
import structlog
from redis.asyncio import Redis

from bandmaster.kernel import BandmasterError, PermanentError, TransientError

_MARKING = 5.0
"""Seconds for which it is tried to mark as done what has been done."""

# A key holds `busy:<token>` or `done:<token>:<json>`. The token is that of one entry: a command that is sent again
# because its answer was lost finds what it did.
_BEGIN = """
local found = redis.call('GET', KEYS[1])
if found and found ~= ARGV[1] then return {found, redis.call('PTTL', KEYS[1])} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
"""
_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_DONE = """
local found = redis.call('GET', KEYS[1])
if found and found ~= ARGV[1] and found ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
_FORGET = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class BusyError(TransientError):
    """Somebody else is doing it right now; ``retry_after`` is when that one's lease ends, unless it is renewed."""


@dataclass(slots=True)
class Hold:
    """One entry's hold on a key."""

    client: Redis
    at: str
    key: str
    token: str
    lease: float
    lost: bool = False

    @property
    def mark(self) -> str:
        """What stands at the key while it is held."""
        return f"busy:{self.token}"

    async def begin(self) -> tuple[Any] | None:
        """Take hold; where it has been done already, what was stored."""
        found = await self.client.eval(_BEGIN, 1, self.at, self.mark, _milliseconds(self.lease))
        if found is None:
            return None
        told, left = found
        state, _, rest = (told if isinstance(told, str) else told.decode(errors="replace")).partition(":")
        if state != "done":
            raise busy(self.key, max(0, left) / 1000)
        try:
            return (json.loads(rest.partition(":")[2]),)
        except ValueError as error:
            raise PermanentError(
                f"what is remembered about the key {self.key!r} at {self.at!r} can't be read"
            ) from error

    async def renew(self) -> None:
        """Go on renewing until cancelled, or until it is somebody else's."""
        while True:
            await anyio.sleep(self.lease / 3)
            try:
                held = await self.client.eval(_RENEW, 1, self.at, self.mark, _milliseconds(self.lease))
            except BandmasterError as error:
                # The block goes on: whether it is lost shows at the end.
                _log().warning("lease can't be renewed", key=self.key, error=str(error))
                continue
            if not held:
                self._lose()
                return

    async def done(self, stored: str, keep: float) -> None:
        """Remember that it has been done, unless it is somebody else's by now."""
        text = f"done:{self.token}:{stored}"
        end = anyio.current_time() + min(_MARKING, self.lease)
        while True:
            try:
                marked = await self.client.eval(_DONE, 1, self.at, self.mark, text, _milliseconds(keep))
            except BandmasterError as error:
                if isinstance(error, TransientError) and anyio.current_time() < end:
                    await anyio.sleep(0.2)
                    continue
                # Not raised: whoever tries again what has been done does it twice for certain.
                _log().error("done, but that can't be remembered: it may be done again", key=self.key, error=str(error))
                return
            if not marked:
                self._lose()
            return

    async def forget(self) -> None:
        """Let others have the key."""
        try:
            await self.client.eval(_FORGET, 1, self.at, self.mark)
        except BandmasterError as error:
            # What the block raised matters more.
            _log().warning("key stays taken until its lease ends", key=self.key, seconds=self.lease, error=str(error))

    def _lose(self) -> None:
        if not self.lost:
            self.lost = True
            _log().warning("lease lost: somebody else may be doing the same", key=self.key, seconds=self.lease)


def busy(key: str, left: float | None = None) -> BusyError:
    """The error for who comes while somebody else has the key, for ``left`` seconds more if that one has died."""
    error = BusyError(f"{key!r} is being done right now, by somebody else; try again later")
    error.retry_after = left
    return error


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _log() -> Any:
    return structlog.get_logger("bandmaster.taskiq")
