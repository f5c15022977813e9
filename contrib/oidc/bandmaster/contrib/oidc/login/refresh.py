"""Refresh the access tokens of sessions: before they expire, once for all who wait, in all processes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

import anyio
from anyio.abc import TaskGroup

from bandmaster.contrib.oidc.errors import AuthUnavailableError, InvalidTokenError
from bandmaster.contrib.oidc.login.authorization import choose_scopes
from bandmaster.contrib.oidc.login.backoff import Backoff
from bandmaster.contrib.oidc.login.id_token import Expectation, check_id_token
from bandmaster.contrib.oidc.login.providers import ProviderDirectory
from bandmaster.contrib.oidc.login.session_sockets import SessionSockets
from bandmaster.contrib.oidc.login.settings import LoginSettings
from bandmaster.contrib.oidc.login.token_endpoint import OAuthRefusalError, TokenEndpoint, Tokens, UnusableAnswerError
from bandmaster.contrib.oidc.sessions.store import Session, SessionStore, hash_id
from bandmaster.contrib.oidc.settings import IssuerSettings
from bandmaster.kernel import get_logger

_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, *(3.2,) * 8)
"""The pauses between attempts to store new tokens: without them in the store, the session can't be refreshed again.

A Redis that fails over to another machine is away for 10 to 30 seconds.
"""


class _Flight:
    """A refresh under way, and those who wait for it."""

    __slots__ = ("done", "error", "session")

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.session: Session | None = None
        self.error: AuthUnavailableError | None = AuthUnavailableError("the refresh was cancelled")


class SessionRefresher:
    """Refreshes sessions whose access token is about to expire.

    A refresh runs in ``tasks``, not in the request that needs the new token: providers that rotate refresh tokens have
    replaced the token by the time that the browser of the request may have gone. The session's lock in the store is
    held meanwhile, so that of all processes one sends the refresh token.
    """

    def __init__(
        self,
        store: SessionStore,
        providers: Mapping[str, IssuerSettings],
        directory: ProviderDirectory,
        token_endpoint: TokenEndpoint,
        sockets: SessionSockets,
        settings: LoginSettings,
        tasks: TaskGroup,
        *,
        leeway: float,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
    ) -> None:
        self._store = store
        self._providers = providers
        self._directory = directory
        self._token_endpoint = token_endpoint
        self._sockets = sockets
        self._settings = settings
        self._tasks = tasks
        self._leeway = leeway
        self._clock = clock
        self._sleep = sleep
        self._flights: dict[str, _Flight] = {}
        self._backoff = Backoff(settings.refresh_backoff, clock)
        self._lifetimes: dict[str, float] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no refresh is under way in this process."""
        return not self._flights

    def is_due(self, session: Session) -> bool:
        """Whether the time to refresh a session has come."""
        if (
            session.refresh_token is None
            or session.access_expires_at is None
            or session.provider not in self._providers
        ):
            return False
        return self._clock() >= session.access_expires_at - self._choose_lead(session)

    def learn_lifetime(self, provider: str, seconds: float | None) -> None:
        """Note for how long a provider issues access tokens; a short life leaves less time to refresh early."""
        if seconds is not None:
            self._lifetimes[provider] = seconds

    async def load(self, handle: str) -> Session | None:
        """The session of a handle, refreshed if the time has come; None if there is none.

        While the access token holds, nobody waits for a refresh.

        Raises:
            AuthUnavailableError: the store can't be reached, or the access token has expired and the provider can't be
                reached. Neither ends the session.
        """
        session = await self._store.get(handle)
        if session is None or not self.is_due(session):
            return session
        holds = session.access_expires_at is not None and self._clock() < session.access_expires_at
        flight = self._flights.get(session.id)
        if flight is None:
            pause = max(self._backoff.remaining(name) for name in _name_backoffs(session))
            if pause > 0:
                if holds:
                    return session
                raise AuthUnavailableError("the access token can't be refreshed now", retry_after=pause)
            flight = self._flights[session.id] = _Flight()
            self._tasks.start_soon(self._fly, flight, handle, session)
        if holds:
            return session
        await flight.done.wait()
        if flight.error is not None:
            # Each waiter raises an exception of its own: one that several raise collects all their tracebacks.
            raise AuthUnavailableError(str(flight.error), retry_after=flight.error.retry_after or 1) from flight.error
        return flight.session

    def _choose_lead(self, session: Session) -> float:
        """How long before the expiry a session is refreshed: seconds that differ between sessions."""
        digest = hashlib.sha256(session.id.encode()).digest()
        fraction = int.from_bytes(digest[:4], "big") / 2**32
        lead = self._settings.refresh_skew + self._settings.refresh_jitter * fraction
        lifetime = self._lifetimes.get(session.provider)
        return lead if lifetime is None else min(lead, lifetime / 3)

    async def _fly(self, flight: _Flight, handle: str, session: Session) -> None:
        try:
            flight.session = await self._refresh_once(handle, session)
            flight.error = None
        except AuthUnavailableError as error:
            flight.error = error
            get_logger("bandmaster.oidc").warning(
                "a session couldn't be refreshed, and goes on", provider=session.provider, reason=str(error)
            )
        except Exception as error:  # noqa: BLE001  # a fault of one session mustn't end the task group of all
            self._note_failure(session)
            flight.error = AuthUnavailableError("the refresh failed unexpectedly")
            get_logger("bandmaster.oidc").error("a refresh failed unexpectedly", exception=error)
        finally:
            del self._flights[session.id]
            flight.done.set()

    async def _refresh_once(self, handle: str, session: Session) -> Session | None:
        async with self._store.lock(session.id):
            # Another process may have refreshed the session, or ended it, while this one waited for the lock.
            current = await self._store.get(handle)
            if current is None or not self.is_due(current):
                return current
            tokens = await self._request_tokens(handle, current)
            if tokens is None:
                return await self._store.get(handle)
            return await self._save(handle, current, tokens)

    async def _request_tokens(self, handle: str, session: Session) -> Tokens | None:
        """New tokens for a session; None if the provider has ended the session, or another process has renewed it."""
        provider = self._providers[session.provider]
        assert session.refresh_token is not None
        try:
            endpoints = await self._directory.find_endpoints(provider.name)
            tokens = await self._token_endpoint.refresh(provider, endpoints, session.refresh_token)
        except OAuthRefusalError as error:
            if error.ends_session:
                # A store that has lost the lock lets two processes send the same token, and the second one is refused.
                current = await self._store.get(handle)
                if current is None or current.refresh_token == session.refresh_token:
                    await self._end(handle, session, str(error))
                return None
            self._note_failure(session)
            get_logger("bandmaster.oidc").error(
                "a provider refuses to refresh sessions, for a reason that isn't the session's",
                provider=provider.name,
                oauth_error=error.oauth_error,
                hint="check the client of this provider in the settings, and at the provider",
            )
            raise AuthUnavailableError(str(error)) from error
        except UnusableAnswerError:
            # Perhaps the answer to this session alone, which mustn't make all others wait.
            self._note_failure(session)
            raise
        except AuthUnavailableError:
            self._backoff.note(_name_backoffs(session)[0])
            raise
        self.learn_lifetime(provider.name, tokens.lifetime)
        return await self._check_identity(handle, session, provider, tokens)

    async def _check_identity(
        self, handle: str, session: Session, provider: IssuerSettings, tokens: Tokens
    ) -> Tokens | None:
        """Check that a new ID token is for the same user (OpenID Connect Core, section 12.2)."""
        if tokens.id_token is None:
            return tokens
        try:
            token = await self._directory.read_token(provider.name, tokens.id_token)
            expected = Expectation(provider, self._clock(), self._leeway, access_token=tokens.access_token)
            claims = check_id_token(token, expected)
            if (claims["iss"], claims["sub"]) != (session.issuer, session.subject):
                raise InvalidTokenError("the ID token of the refresh is for another user")
        except InvalidTokenError as error:
            await self._end(handle, session, str(error))
            return None
        except AuthUnavailableError:
            # The old refresh token is used up, so the new one must be kept. Only the new ID token is dropped.
            return replace(tokens, id_token=None)
        return tokens

    async def _save(self, handle: str, session: Session, tokens: Tokens) -> Session | None:
        """Store a session with new tokens; None if somebody has ended the session meanwhile."""
        provider = self._providers[session.provider]
        renewed = replace(
            session,
            access_token=tokens.access_token,
            access_expires_at=tokens.expires_at,
            # RFC 6749, 6: without a new refresh token the old one stays.
            refresh_token=tokens.refresh_token or session.refresh_token,
            id_token=tokens.id_token or session.id_token,
            scopes=session.scopes if tokens.scopes is None else choose_scopes(provider, tokens.scopes),
        )
        for pause in _PAUSES:
            try:
                return None if await self._store.replace(handle, renewed) is None else renewed
            except AuthUnavailableError:
                await self._sleep(pause)
        return None if await self._store.replace(handle, renewed) is None else renewed

    async def _end(self, handle: str, session: Session, reason: str) -> None:
        await self._store.delete(handle)
        await self._sockets.end(session.id)
        get_logger("bandmaster.oidc").info(
            "session ended",
            provider=session.provider,
            subject=session.subject,
            session=hash_id(session.id)[:12],
            reason=reason,
        )

    def _note_failure(self, session: Session) -> None:
        self._backoff.note(_name_backoffs(session)[1])


def _name_backoffs(session: Session) -> tuple[str, str]:
    return f"provider {session.provider}", f"session {session.id}"
