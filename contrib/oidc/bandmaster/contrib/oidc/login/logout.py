"""End sessions: at the user's wish, and at the provider's (RP-Initiated Logout 1.0, Back-Channel Logout 1.0)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from bandmaster.contrib.oidc.claim_values import check_times
from bandmaster.contrib.oidc.errors import AuthUnavailableError, InvalidRequestError, InvalidTokenError
from bandmaster.contrib.oidc.login.addresses import Addresses
from bandmaster.contrib.oidc.login.id_token import check_audience, is_issued_by
from bandmaster.contrib.oidc.login.providers import ProviderDirectory, SignedToken
from bandmaster.contrib.oidc.login.session_sockets import SessionSockets
from bandmaster.contrib.oidc.login.single_use import SingleUse
from bandmaster.contrib.oidc.sessions.store import Session, SessionStore, hash_id
from bandmaster.contrib.oidc.settings import IssuerSettings
from bandmaster.kernel import get_logger

_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_TYPES = ("", "logout+jwt", "jwt")
_MOST_BYTES = 16 * 1024
_MOST_ID = 512
_REMEMBERED = 600
"""Seconds for which the id of a logout token is remembered at least."""


class Logout:
    """Ends sessions, with their WebSockets."""

    def __init__(
        self,
        store: SessionStore,
        sockets: SessionSockets,
        providers: Mapping[str, IssuerSettings],
        directory: ProviderDirectory,
        single_use: SingleUse,
        addresses: Addresses,
        *,
        leeway: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._sockets = sockets
        self._providers = providers
        self._directory = directory
        self._single_use = single_use
        self._addresses = addresses
        self._leeway = leeway
        self._clock = clock

    async def end(self, handle: str, session: Session) -> None:
        """End a session at the user's wish.

        Raises:
            AuthUnavailableError: the store can't be reached, so the session hasn't ended.
        """
        await self._store.delete(handle)
        await self._sockets.end(session.id)
        get_logger("bandmaster.oidc").info(
            "session ended",
            provider=session.provider,
            subject=session.subject,
            session=hash_id(session.id)[:12],
            reason="the user has logged out",
        )

    async def find_provider_logout(self, session: Session, state: str) -> str | None:
        """The address at which the provider ends the user's session there; None if the provider has no such address.

        A provider that is away is left out: our session has ended.
        """
        provider = self._providers.get(session.provider)
        if provider is None:
            return None
        try:
            endpoint = (await self._directory.find_endpoints(provider.name)).end_session
        except AuthUnavailableError:
            return None
        if endpoint is None:
            return None
        parameters = {
            # The hint may have expired (RP-Initiated Logout, section 2); without it many providers ask the user.
            "id_token_hint": session.id_token,
            "client_id": provider.client_id,
            "post_logout_redirect_uri": self._addresses.logged_out,
            "state": state,
        }
        query = urlencode({name: value for name, value in parameters.items() if value is not None})
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{query}"

    async def end_by_provider(self, logout_token: str) -> int:
        """End the sessions that a provider's logout token names, and return how many there were.

        A token with ``sid`` ends that session, one with only ``sub`` every session of the user (section 2.7).

        Raises:
            InvalidTokenError: the token doesn't hold.
            InvalidRequestError: the token has been used before.
            AuthUnavailableError: the keys or the store can't be reached, so nothing has ended.
        """
        provider = self._find_provider(logout_token)
        token = await self._directory.read_token(provider.name, logout_token)
        claims = check_logout_token(token, provider, self._clock(), self._leeway)
        issuer, sid, subject = claims["iss"], claims.get("sid"), claims.get("sub")
        until = max(claims["exp"] + self._leeway, self._clock() + _REMEMBERED)
        async with self._single_use.claim("logout", f"{issuer}\0{claims['jti']}", until) as is_first:
            if not is_first:
                raise InvalidRequestError("the logout token has been used before")
            ended = await self._store.delete_by(issuer, sid=sid, subject=subject)
        await self._sockets.end_by(issuer, sid=sid, subject=subject)
        get_logger("bandmaster.oidc").info(
            "sessions ended", provider=provider.name, subject=subject, sessions=ended, reason="the provider's logout"
        )
        return ended

    def _find_provider(self, logout_token: str) -> IssuerSettings:
        """The provider that a logout token claims to be of; only the signature will prove the claim."""
        # Here, because it imports the library: a plan needs no cryptography.
        from bandmaster.contrib.oidc.tokens.parsing import parse_token

        claims = parse_token(logout_token, _MOST_BYTES).claims
        found = [provider for provider in self._providers.values() if is_issued_by(provider, claims)]
        if not found:
            raise InvalidTokenError("the logout token is of no known issuer")
        # Several clients may be registered at one issuer, and the token is meant for one of them.
        return next((provider for provider in found if _is_meant_for(provider, claims)), found[0])


def _is_meant_for(provider: IssuerSettings, claims: Mapping[str, Any]) -> bool:
    try:
        check_audience(provider, claims)
    except InvalidTokenError:
        return False
    return True


def check_logout_token(token: SignedToken, provider: IssuerSettings, now: float, leeway: float) -> Mapping[str, Any]:
    """Check the claims of a logout token whose signature holds (Back-Channel Logout, section 2.6).

    Raises:
        InvalidTokenError: a claim is missing, malformed, or doesn't fit.
    """
    claims = token.claims
    if token.type not in _TYPES:
        raise InvalidTokenError("the logout token is a token of another type")
    if not is_issued_by(provider, claims):
        raise InvalidTokenError("the logout token is of another issuer")
    check_audience(provider, claims)
    check_times(claims, now, leeway, needs_issue=True)
    events = claims.get("events")
    if not isinstance(events, Mapping) or not isinstance(events.get(_EVENT), Mapping):
        raise InvalidTokenError("the logout token isn't about a logout")
    # Else an ID token with such a claim would pass for a logout token.
    if "nonce" in claims:
        raise InvalidTokenError("the logout token has a nonce")
    for name in ("jti", "sid", "sub"):
        value = claims.get(name)
        if value is not None and (not isinstance(value, str) or not value or len(value) > _MOST_ID):
            raise InvalidTokenError(f"the logout token's {name} is malformed")
    if claims.get("jti") is None:
        raise InvalidTokenError("the logout token has no id")
    if claims.get("sid") is None and claims.get("sub") is None:
        raise InvalidTokenError("the logout token names neither a session nor a user")
    return claims
