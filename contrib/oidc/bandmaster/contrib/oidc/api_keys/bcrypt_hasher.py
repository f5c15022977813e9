"""`BcryptHasher`: bcrypt in threads of its own, where a rule demands bcrypt."""

from __future__ import annotations

import base64
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TypeVar

import anyio
import anyio.to_thread
import bcrypt
from pydantic import SecretStr

from bandmaster.contrib.oidc.api_keys.hashers import HmacSha256Hasher
from bandmaster.contrib.oidc.errors import AuthUnavailableError

T = TypeVar("T")

_BCRYPT = "bcrypt"
MIN_ROUNDS = 12
MAX_CACHED = 1000
"""Verifications that the cache remembers, at most."""


class BcryptHasher:
    """bcrypt over the HMAC of a key. The first pepper makes new hashes, and all of them verify.

    bcrypt uses 72 bytes and refuses more, and a key is longer. So the input is the HMAC-SHA256 of the key in base 64,
    which is 44 bytes without a NUL.

    A verification takes a quarter of a second of a processor. Each runs in one of ``threads`` threads, apart from those
    of everybody else. A request waits at most ``wait`` seconds for one of them, and is then answered with 503. A key
    that was verified is accepted without bcrypt for ``cache_seconds``. The cache knows that a key belongs to a stored
    hash, and nothing about owner or end: revocation, expiry and scopes are read from the store for each request.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        peppers: Mapping[str, SecretStr],
        *,
        rounds: int = MIN_ROUNDS,
        threads: int = 2,
        wait: float = 5,
        cache_seconds: float = 60,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not MIN_ROUNDS <= rounds <= 31:
            raise ValueError(f"rounds: expected {MIN_ROUNDS} to 31, got {rounds!r}")
        if threads < 1:
            raise ValueError(f"threads: expected a number from 1 up, got {threads!r}")
        self._hmac = HmacSha256Hasher(peppers)
        self._first = self._hmac.peppers[0]
        self._rounds = rounds
        self._threads = threads
        self._wait = wait
        self._cache_seconds = cache_seconds
        self._clock = clock
        # A limiter belongs to an event loop, so that it is made in the first call.
        self._limiter: anyio.CapacityLimiter | None = None
        # By stored hash and HMAC, neither of which is the key: the time until which the pair counts as verified.
        self._verified: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._dummy: bytes | None = None

    def __repr__(self) -> str:
        return f"<BcryptHasher with {self._rounds} rounds and the peppers {', '.join(self._hmac.peppers)}>"

    async def hash(self, key: str) -> str:
        """See `KeyHasher.hash`."""
        digest = await self._run(lambda: bcrypt.hashpw(self._prepare(key, self._first), bcrypt.gensalt(self._rounds)))
        return f"{_BCRYPT}${self._first}${digest.decode('ascii')}"

    async def verify(self, key: str, stored: str) -> bool:
        """See `KeyHasher.verify`."""
        if not self.can_verify(stored):
            return False
        _, pepper, digest = stored.split("$", 2)
        pair = stored, self._hmac.digest(key, pepper)
        if self._is_verified(pair):
            return True
        if not await self._check(self._prepare(key, pepper), digest.encode("ascii")):
            return False
        self._remember(pair)
        return True

    async def verify_nothing(self, key: str) -> None:
        """See `KeyHasher.verify_nothing`."""
        if self._dummy is None:
            # A hash of as many rounds, which no key has: bcrypt takes as long with it.
            self._dummy = bcrypt.gensalt(self._rounds) + secrets.token_hex(16)[:31].encode("ascii")
        await self._check(self._prepare(key, self._first), self._dummy)

    def can_verify(self, stored: str) -> bool:
        """See `KeyHasher.can_verify`."""
        algorithm, *rest = stored.split("$", 2)
        return algorithm == _BCRYPT and len(rest) == 2 and rest[0] in self._hmac.peppers

    def is_current(self, stored: str) -> bool:
        """See `KeyHasher.is_current`."""
        return stored.startswith(f"{_BCRYPT}${self._first}$$2b${self._rounds:02}$")

    def _prepare(self, key: str, pepper: str) -> bytes:
        return base64.b64encode(bytes.fromhex(self._hmac.digest(key, pepper)))

    async def _check(self, prepared: bytes, digest: bytes) -> bool:
        return await self._run(lambda: bcrypt.checkpw(prepared, digest))

    async def _run(self, work: Callable[[], T]) -> T:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self._threads)
        try:
            with anyio.fail_after(self._wait):
                await self._limiter.acquire()
        except TimeoutError:
            raise AuthUnavailableError(
                f"no thread for bcrypt was free within {self._wait:g} s: all {self._threads} are busy with other keys"
            ) from None
        try:
            # The thread can't be interrupted. Its place is free again only when it has ended, cancelled or not.
            return await anyio.to_thread.run_sync(work, limiter=anyio.CapacityLimiter(1))
        finally:
            self._limiter.release()

    def _is_verified(self, pair: tuple[str, str]) -> bool:
        until = self._verified.get(pair)
        if until is None:
            return False
        if self._clock() < until:
            return True
        del self._verified[pair]
        return False

    def _remember(self, pair: tuple[str, str]) -> None:
        if self._cache_seconds <= 0:
            return
        self._verified[pair] = self._clock() + self._cache_seconds
        self._verified.move_to_end(pair)
        while len(self._verified) > MAX_CACHED:
            self._verified.popitem(last=False)
