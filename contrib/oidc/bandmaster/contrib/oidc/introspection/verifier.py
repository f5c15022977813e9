"""Verify opaque access tokens by asking their provider, with a cache of the answers."""

from __future__ import annotations

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import httpx2

from bandmaster.contrib.oidc.errors import AuthUnavailableError, InvalidTokenError
from bandmaster.contrib.oidc.introspection.answers import read_answer
from bandmaster.contrib.oidc.introspection.endpoint import EndpointAwayError, IntrospectionEndpoint, RefusedTokenError
from bandmaster.contrib.oidc.introspection.settings import IntrospectionSettings
from bandmaster.contrib.oidc.local_locks import LocalLocks
from bandmaster.contrib.oidc.outage import Outage
from bandmaster.contrib.oidc.principal import Principal
from bandmaster.contrib.oidc.settings import IssuerSettings
from bandmaster.kernel import get_logger

_T = TypeVar("_T")
# RFC 6750, section 2.1: the characters of a bearer token.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_LONGEST_TOKEN = 16 * 1024


@dataclass(slots=True)
class _Cache(Generic[_T]):
    """Values that are forgotten after some seconds; the least recently used one goes first."""

    size: int
    values: OrderedDict[bytes, tuple[float, _T]] = field(default_factory=OrderedDict[bytes, "tuple[float, _T]"])

    def get(self, key: bytes, now: float) -> _T | None:
        found = self.values.get(key)
        if found is None:
            return None
        until, value = found
        if until <= now:
            del self.values[key]
            return None
        self.values.move_to_end(key)
        return value

    def put(self, key: bytes, value: _T, until: float) -> None:
        self.values[key] = until, value
        self.values.move_to_end(key)
        if len(self.values) > self.size:
            self.values.popitem(last=False)


class IntrospectionVerifier:
    """A `TokenVerifier` that asks the introspection endpoint of one provider (RFC 7662).

    Concurrent requests with one token ask once. Answers are remembered by the hash of the token, active and inactive
    ones apart, so that a flood of invalid tokens removes no valid one. While the provider is away one attempt is made
    after each pause, and all other requests with unknown tokens fail at once.

    Args:
        provider: the settings that tokens are checked by, and the client that asks.
        client: the HTTP client; redirects aren't followed.
        address: gives the address of the endpoint, from the settings or from discovery.
        leeway: seconds by which the provider's clock may differ.
    """

    def __init__(
        self,
        provider: IssuerSettings,
        client: httpx2.AsyncClient,
        address: Callable[[], Awaitable[str]],
        settings: IntrospectionSettings,
        *,
        leeway: float = 30,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._provider = provider
        self._endpoint = IntrospectionEndpoint(provider, client, address, timeout=settings.timeout)
        self._settings = settings
        self._leeway = leeway
        self._clock = clock
        self._monotonic = monotonic
        self._active: _Cache[Principal] = _Cache(settings.max_tokens)
        self._inactive: _Cache[str] = _Cache(settings.max_tokens)
        # Of those who wait the first one gets an answer within the timeout, and the others find it in the cache.
        self._flights = LocalLocks(2 * settings.timeout, "the introspection of a token")
        self._outage: Outage | None = None

    async def verify(self, token: str) -> Principal:
        """See `TokenVerifier.verify`.

        Raises:
            InvalidTokenError: the provider says that the token isn't active, or the token doesn't hold here.
            AuthUnavailableError: the provider can't be asked now.
        """
        # Before the regular expression and the hash, which take time in proportion.
        if len(token) > _LONGEST_TOKEN or not _TOKEN.fullmatch(token):
            raise InvalidTokenError("the token is too long, or has characters that no bearer token has")
        digest = hashlib.sha256(token.encode()).digest()
        known = self._recall(digest)
        if known is not None:
            return known
        if not self._settings.ttl:
            return await self._ask(token, digest)
        async with self._flights.hold(digest.hex()):
            return self._recall(digest) or await self._ask(token, digest)

    def _recall(self, digest: bytes) -> Principal | None:
        """The remembered principal of a token, or None.

        Raises:
            InvalidTokenError: the token isn't active.
        """
        now = self._monotonic()
        principal = self._active.get(digest, now)
        if principal is not None:
            # The clock of the host may have been set since.
            if principal.expires_at is None or principal.expires_at > self._clock():
                return principal
            return None
        reason = self._inactive.get(digest, now)
        if reason is not None:
            raise InvalidTokenError(reason)
        return None

    async def _ask(self, token: str, digest: bytes) -> Principal:
        self._check_outage()
        try:
            answer = await self._endpoint.ask(token)
        except EndpointAwayError as error:
            raise self._note_outage(error) from error
        except RefusedTokenError:
            self._note_answer()
            raise
        except BaseException:
            # Neither an answer nor a further failure: the next attempt after an outage is due as before.
            if self._outage is not None:
                self._outage = self._outage.resume(self._monotonic())
            raise
        self._note_answer()
        asked = self._monotonic()
        try:
            principal = read_answer(
                answer, self._provider, now=self._clock(), leeway=self._leeway, token_id=digest.hex()
            )
        except InvalidTokenError as error:
            if self._settings.inactive_ttl:
                self._inactive.put(digest, str(error), asked + self._settings.inactive_ttl)
            raise
        left = float("inf") if principal.expires_at is None else principal.expires_at - self._clock()
        seconds = min(self._settings.ttl, left)
        if seconds > 0:
            self._active.put(digest, principal, asked + seconds)
        return principal

    def _check_outage(self) -> None:
        """Let one attempt through after each pause.

        Raises:
            AuthUnavailableError: the provider is away, and the pause isn't over.
        """
        if self._outage is None:
            return
        now = self._monotonic()
        if not self._outage.allows_attempt(now):
            raise self._outage.describe(now)
        self._outage = self._outage.postpone(now + self._settings.timeout)

    def _note_outage(self, error: EndpointAwayError) -> AuthUnavailableError:
        """Note a failure. Returns the error for the caller, with the time of the next attempt."""
        if self._outage is None:
            get_logger("bandmaster.oidc").warning(
                "introspection fails, and requests with unknown tokens get 503", reason=str(error)
            )
        now = self._monotonic()
        self._outage = Outage.after(self._outage, error, now=now, longest=self._settings.longest_pause)
        return self._outage.describe(now)

    def _note_answer(self) -> None:
        if self._outage is not None:
            self._outage = None
            get_logger("bandmaster.oidc").info("introspection works again", provider=self._provider.name)
