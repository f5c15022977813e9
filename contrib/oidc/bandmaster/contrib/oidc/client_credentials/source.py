"""Keep one access token for all calls to a service, and renew it once for all of them."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from dataclasses import dataclass, field

import anyio
import httpx2
from anyio.abc import TaskGroup

from bandmaster.contrib.oidc.client_credentials.settings import ClientCredentialsSettings
from bandmaster.contrib.oidc.client_credentials.token_endpoint import IssuedToken, TokenRefusedError
from bandmaster.contrib.oidc.errors import AuthUnavailableError
from bandmaster.contrib.oidc.outage import Outage
from bandmaster.kernel import get_logger


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token of this application. Neither its text nor its repr shows the value."""

    value: str = field(repr=False)
    renew_at: float
    """When to fetch the next one, by the source's clock."""
    expires_at: float
    """When the token ends, by the source's clock."""


@dataclass(slots=True)
class _Fetch:
    """One call of the token endpoint, which any number of callers wait for."""

    done: anyio.Event = field(default_factory=anyio.Event)
    token: AccessToken | None = None
    error: AuthUnavailableError | TokenRefusedError | None = None
    is_outdated: bool = False
    """Whether the token that was current when the fetch began has been invalidated since."""


class ClientCredentials(httpx2.Auth):
    """The access token for calls to one service.

    An ``httpx2.Auth``, for a client or for single calls::

        await client.get("https://billing.internal/invoices", auth=credentials)

    A call that is answered with 401 is repeated once with a newer token, unless its body is a stream. The component of
    `client_credentials_for` provides one.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[IssuedToken]],
        settings: ClientCredentialsSettings,
        tasks: TaskGroup,
        *,
        name: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch_token = fetch
        self._settings = settings
        self._tasks = tasks
        self._name = name
        self._clock = clock
        self._current: AccessToken | None = None
        self._fetch: _Fetch | None = None
        self._outage: Outage | None = None
        self._refetch_at = 0.0
        self._closed = False

    async def token(self) -> AccessToken:
        """The current token, or a new one; callers at the same time share one request to the provider.

        A token that is to be renewed serves until its end while the provider is away.

        Raises:
            AuthUnavailableError: the provider is away. For some seconds after a failure no new attempt is made.
            TokenRefusedError: the provider refuses.
        """
        while True:
            now, current = self._clock(), self._current
            if current is not None and now < current.renew_at:
                return current
            if self._fetch is None and (self._closed or not self._may_fetch(now)):
                return self._make_do(current, now)
            fetch = self._fetch or self._start_fetch()
            await fetch.done.wait()
            if fetch.token is not None and not fetch.is_outdated:
                return fetch.token
            if not fetch.is_outdated:
                return self._make_do(self._current, self._clock())

    def invalidate(self, token: AccessToken) -> None:
        """Forget a token that a service has refused. A newer token stays.

        A fetch that began before isn't published: its token may be older than the refusal. A service that refuses the
        new token as well has another reason, so for ``refetch_cooldown`` seconds the new token stays, too.
        """
        now = self._clock()
        if token is not self._current or now < self._refetch_at:
            return
        self._current = None
        self._refetch_at = now + self._settings.refetch_cooldown
        if self._fetch is not None:
            self._fetch.is_outdated = True
            self._fetch = None

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Send the request with the token, and once more with a newer one after a 401."""
        token = await self.token()
        sent = request.headers["authorization"] = f"Bearer {token.value}"
        response = yield request
        # A redirect to another host goes without the token, and says nothing about the token.
        if response.status_code != 401 or response.request.headers.get("authorization") != sent:
            return
        self.invalidate(token)
        get_logger("bandmaster.oidc").info(
            "an access token was refused", service=self._name, host=response.request.url.host
        )
        if not isinstance(request.stream, httpx2.ByteStream):
            return  # the body can be read only once
        # The answer gives its connection back: many refused calls would otherwise fill the pool that the request for
        # the newer token waits for.
        await response.aread()
        newer = await self.token()
        if newer.value == token.value:
            return
        request.headers["authorization"] = f"Bearer {newer.value}"
        yield request

    def sync_auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Refuse a client that isn't async.

        Raises:
            TypeError: always.
        """
        raise TypeError("ClientCredentials is for an httpx2.AsyncClient; tokens are fetched asynchronously")

    def close(self) -> None:
        """Fetch no further token."""
        self._closed = True

    def _may_fetch(self, now: float) -> bool:
        return self._outage is None or self._outage.allows_attempt(now)

    def _start_fetch(self) -> _Fetch:
        fetch = self._fetch = _Fetch()
        # In the component's task group: the caller that happens to be the first may be cancelled.
        self._tasks.start_soon(self._run, fetch)
        return fetch

    async def _run(self, fetch: _Fetch) -> None:
        began = self._clock()
        try:
            issued = await self._fetch_token()
        except (AuthUnavailableError, TokenRefusedError) as error:
            fetch.error = error
            if not fetch.is_outdated:
                self._note_failure(error)
        except Exception as error:  # noqa: BLE001  # a fault here must not end the task group, and so the application
            get_logger("bandmaster.oidc").error(
                "a token request failed unexpectedly", service=self._name, exception=error
            )
            fetch.error = AuthUnavailableError(f"the token request failed: {type(error).__name__}")
            if not fetch.is_outdated:
                self._note_failure(fetch.error)
        else:
            fetch.token = self._make_token(issued, began)
            if not fetch.is_outdated:
                self._current, self._outage = fetch.token, None
        finally:
            if self._fetch is fetch:
                self._fetch = None
            fetch.done.set()

    def _make_token(self, issued: IssuedToken, began: float) -> AccessToken:
        lifetime = self._settings.lifetime if issued.lifetime is None else issued.lifetime
        # The provider's seconds began while the request was on its way.
        expires_at = began + lifetime
        return AccessToken(issued.value, expires_at - min(self._settings.skew, lifetime / 2), expires_at)

    def _note_failure(self, error: AuthUnavailableError | TokenRefusedError) -> None:
        longest = self._settings.longest_pause
        self._outage = Outage.after(self._outage, error, now=self._clock(), longest=longest)
        get_logger("bandmaster.oidc").warning(
            "an access token can't be fetched", service=self._name, error=str(error), next_attempt=self._outage.pause
        )

    def _make_do(self, current: AccessToken | None, now: float) -> AccessToken:
        """The token that is still good, or the error for a caller."""
        if current is not None and now < current.expires_at:
            return current
        raise self._make_error(now) from (None if self._outage is None else self._outage.error)

    def _make_error(self, now: float) -> Exception:
        call = f"no access token for {self._name!r}"
        if self._outage is None:
            return AuthUnavailableError(f"{call}: the application has stopped")
        error, absence = self._outage.error, self._outage.describe(now)
        if isinstance(error, TokenRefusedError):
            return TokenRefusedError(f"{call}: {error}", oauth_error=error.oauth_error)
        return AuthUnavailableError(f"{call}: {absence}", retry_after=absence.retry_after or 1)
