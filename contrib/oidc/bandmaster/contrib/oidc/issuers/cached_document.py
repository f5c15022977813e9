"""A document of a provider, kept: fetched once for many callers, anew after a while, and seldom during an outage."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from anyio.abc import TaskGroup

from bandmaster.contrib.oidc.errors import AuthUnavailableError, ProviderRefusedError
from bandmaster.contrib.oidc.issuers.single_flight import SingleFlight
from bandmaster.contrib.oidc.outage import Outage
from bandmaster.kernel import get_logger

T = TypeVar("T")
Clock = Callable[[], float]


class CachedDocument(Generic[T]):
    """A document that one provider publishes. All times are in seconds.

    The first callers share one fetch. After a failure one caller at a time waits for the next attempt; the others get
    `AuthUnavailableError` at once, and until the pause is over everybody does. A document older than ``ttl`` is fetched
    anew while it serves. One twice as old is waited for, unless the provider is away: then it serves until it is as old
    as ``max_age``.
    """

    def __init__(
        self,
        title: str,
        fetch: Callable[[T | None], Awaitable[T]],
        tasks: TaskGroup,
        *,
        ttl: float,
        max_age: float,
        longest_pause: float,
        clock: Clock = time.monotonic,
    ) -> None:
        self.title = title
        self._fetch = fetch
        self._ttl = ttl
        self._max_age = max_age
        self._longest_pause = longest_pause
        self._clock = clock
        self._flight = SingleFlight(self._refresh, tasks)
        self._value: T | None = None
        self._fetched_at = 0.0
        self._fresh_until = float("-inf")
        self._outage: Outage | None = None

    @property
    def outage(self) -> Outage | None:
        """The outage that goes on, if the last fetch has failed."""
        return self._outage

    @property
    def value(self) -> T | None:
        """The document, however old; None before the first fetch."""
        return self._value

    def peek(self) -> T | None:
        """The document, if no fetch is due."""
        return self._value if self._clock() < self._fresh_until else None

    async def get(self) -> T:
        """The document.

        Raises:
            AuthUnavailableError: the provider is away, and the document isn't known or too old.
        """
        now = self._clock()
        age = now - self._fetched_at
        if self._value is not None and age > self._max_age:
            self._value = None
        if self._value is None:
            if self._outage is not None and (self._flight.is_running or not self.may_fetch(now)):
                raise self._outage.describe(now)
            await self._flight.join()
        elif age >= self._ttl and self.may_fetch(now):
            done = self._flight.start()
            if age >= 2 * self._ttl and self._outage is None:
                await done.wait()
        if self._value is None:
            raise self.describe_outage()
        return self._value

    async def warm(self) -> T:
        """The document. One that isn't known is fetched now, also where an attempt has failed just before.

        Raises:
            AuthUnavailableError: the provider is away.
            ProviderRefusedError: the document can't be used.
        """
        if self._value is not None:
            return await self.get()
        await self._flight.join()
        if self._value is None:
            raise self.describe_outage() if self._outage is None else self._outage.error
        return self._value

    async def fetch_anew(self) -> T:
        """The document, fetched now; the known one if that fails.

        Raises:
            AuthUnavailableError: there is none.
        """
        await self._flight.join()
        if self._value is None:
            raise self.describe_outage()
        return self._value

    def may_fetch(self, now: float) -> bool:
        """Whether an attempt to fetch may be made."""
        return self._outage is None or self._outage.allows_attempt(now)

    def describe_outage(self) -> AuthUnavailableError:
        """The error for a caller who can't be served."""
        if self._outage is None:
            return AuthUnavailableError(f"{self.title} aren't known yet")
        return self._outage.describe(self._clock())

    async def _refresh(self) -> None:
        before = self._value
        try:
            value = await self._fetch(before)
        except (AuthUnavailableError, ProviderRefusedError) as error:
            self._note_failure(error)
            return
        except Exception as error:  # noqa: BLE001  # a fault here must not end the task group, and so the application
            get_logger("bandmaster.oidc").error(f"{self.title} can't be read", exception=error)
            self._note_failure(ProviderRefusedError(f"{self.title} can't be read: {type(error).__name__}"))
            return
        now = self._clock()
        if self._outage is not None:
            get_logger("bandmaster.oidc").info(f"{self.title} can be fetched again")
        self._value, self._outage = value, None
        self._fetched_at, self._fresh_until = now, now + self._ttl
        self._note_success(before, value, now)

    def _note_success(self, before: T | None, value: T, now: float) -> None:
        """Called after each successful fetch."""

    def _note_failure(self, error: AuthUnavailableError | ProviderRefusedError) -> None:
        is_first = self._outage is None
        self._outage = Outage.after(self._outage, error, now=self._clock(), longest=self._longest_pause)
        if is_first:
            log = get_logger("bandmaster.oidc")
            tell = log.error if isinstance(error, ProviderRefusedError) else log.warning
            tell(f"{self.title} can't be fetched", error=str(error), known=self._value is not None)
