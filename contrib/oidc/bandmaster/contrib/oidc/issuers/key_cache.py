"""The keys of one provider, kept, and fetched anew for a token that names an unknown one."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from anyio.abc import TaskGroup

from bandmaster.contrib.oidc.issuers.cached_document import CachedDocument, Clock
from bandmaster.contrib.oidc.issuers.keys import KeySet
from bandmaster.contrib.oidc.settings import AuthSettings
from bandmaster.kernel import get_logger

_AFTER_NEW_KEYS = 0.1
"""The share of the cool-down after a fetch that did bring a new key: a rotation isn't a flood."""


class KeyCache(CachedDocument[KeySet]):
    """The keys of one provider, kept as a `CachedDocument`.

    A token that names an unknown key causes a fetch, and waits for the result. If that brings nothing new, no other
    token causes one for ``key_cooldown``. Other fetches don't count, so that a rotation just after the start is
    noticed.
    """

    def __init__(
        self,
        name: str,
        fetch: Callable[[KeySet | None], Awaitable[KeySet]],
        tasks: TaskGroup,
        settings: AuthSettings,
        clock: Clock = time.monotonic,
    ) -> None:
        super().__init__(
            f"keys of the provider {name!r}",
            fetch,
            tasks,
            ttl=settings.key_ttl,
            max_age=settings.key_max_age,
            longest_pause=settings.key_backoff,
            clock=clock,
        )
        self._cooldown = settings.key_cooldown
        self._forced_again_at = float("-inf")

    async def newer(self, seen: KeySet) -> KeySet | None:
        """Keys that were fetched after ``seen``, for a token whose key isn't there; None if there are none.

        Raises:
            AuthUnavailableError: the provider is away, so that nobody knows.
        """
        if self._value is seen and self._flight.is_running:
            if self._outage is not None:
                raise self.describe_outage()
            await self._flight.join()
        if self._value is not seen:
            return await self.get()
        now = self._clock()
        if not self.may_fetch(now):
            raise self.describe_outage()
        # An outage has pauses of its own.
        if self._outage is None and now < self._forced_again_at:
            return None
        self._forced_again_at = now + self._cooldown
        await self._flight.join()
        if self._outage is not None:
            raise self.describe_outage()
        return None if self._value is seen else self._value

    def _note_success(self, before: KeySet | None, value: KeySet, now: float) -> None:
        if before is value:
            return
        if before is not None and value.named.keys() - before.named.keys():
            self._forced_again_at = min(self._forced_again_at, now + self._cooldown * _AFTER_NEW_KEYS)
        get_logger("bandmaster.oidc").info(f"{self.title} fetched", keys=len(value), left_out=value.left_out)
