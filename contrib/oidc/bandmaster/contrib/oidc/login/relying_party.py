"""The relying party: begins logins at providers, and finishes them with a session."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bandmaster.contrib.oidc.errors import InvalidRequestError, InvalidTokenError
from bandmaster.contrib.oidc.login.addresses import Addresses
from bandmaster.contrib.oidc.login.authorization import (
    AuthorizationResponse,
    build_authorization_url,
    check_response_issuer,
    choose_scopes,
)
from bandmaster.contrib.oidc.login.id_token import Expectation, check_id_token
from bandmaster.contrib.oidc.login.pending import PendingLogin, PendingLogins
from bandmaster.contrib.oidc.login.providers import ProviderDirectory
from bandmaster.contrib.oidc.login.settings import LoginSettings
from bandmaster.contrib.oidc.login.single_use import SingleUse
from bandmaster.contrib.oidc.login.token_endpoint import OAuthRefusalError, TokenEndpoint, Tokens
from bandmaster.contrib.oidc.login.userinfo import UserinfoEndpoint
from bandmaster.contrib.oidc.sessions.store import Session
from bandmaster.contrib.oidc.settings import IssuerSettings

# Claims of the protocol say nothing about the user.
_OF_PROTOCOL = frozenset(
    {"iss", "aud", "exp", "iat", "nbf", "nonce", "at_hash", "c_hash", "azp", "jti", "sid", "typ", "session_state"}
)


@dataclass(frozen=True, slots=True)
class Begun:
    """A login that has begun: the address to which the browser goes now, and the new cookies."""

    url: str = field(repr=False)
    cookies: list[str] = field(repr=False)


class RelyingParty:
    """Logs users in by the authorization code flow with PKCE (OpenID Connect Core, section 3.1; RFC 7636)."""

    def __init__(
        self,
        providers: Mapping[str, IssuerSettings],
        directory: ProviderDirectory,
        token_endpoint: TokenEndpoint,
        userinfo: UserinfoEndpoint,
        pending: PendingLogins,
        single_use: SingleUse,
        addresses: Addresses,
        settings: LoginSettings,
        *,
        leeway: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.providers = providers
        """The providers at which users can log in, by name."""
        self.pending = pending
        self._directory = directory
        self._token_endpoint = token_endpoint
        self._userinfo = userinfo
        self._single_use = single_use
        self._addresses = addresses
        self._settings = settings
        self._leeway = leeway
        self._clock = clock

    async def begin(
        self, provider: IssuerSettings, return_to: str, sent: Mapping[str, str], *, login_hint: str | None = None
    ) -> Begun:
        """Begin a login. ``return_to`` is a path on our origin; ``sent`` are the cookies of the request.

        Raises:
            AuthUnavailableError: the provider's endpoints can't be found now.
        """
        endpoints = await self._directory.find_endpoints(provider.name)
        login, cookies = self.pending.begin(provider.name, return_to, sent)
        redirect_uri = self._addresses.callback(provider.name)
        return Begun(build_authorization_url(provider, endpoints, login, redirect_uri, login_hint=login_hint), cookies)

    async def finish(self, provider_name: str, response: AuthorizationResponse, login: PendingLogin) -> Session:
        """Finish a login of this browser with the provider's answer, and return the new session.

        Raises:
            InvalidRequestError: the answer doesn't belong to this login, or the login has been finished already.
            OAuthRefusalError: the provider refuses the login.
            InvalidTokenError: the tokens don't hold.
            AuthUnavailableError: the provider gives no usable answer now.
        """
        provider = self.providers.get(login.provider)
        if provider is None or provider_name != login.provider:
            raise InvalidRequestError("the login began at another provider than the one that answers")
        async with self._single_use.claim("state", login.state, self.pending.expires_at(login)) as is_first:
            if not is_first:
                raise InvalidRequestError("the login has been finished already")
        endpoints = await self._directory.find_endpoints(provider.name)
        check_response_issuer(provider, endpoints, response)
        if response.code is None:
            raise OAuthRefusalError(
                f"{provider.name!r} refused the login with {response.error}", response.error or "unknown_error"
            )
        tokens = await self._token_endpoint.exchange_code(
            provider,
            endpoints,
            code=response.code,
            code_verifier=login.code_verifier,
            redirect_uri=self._addresses.callback(provider.name),
        )
        claims = await self._check_tokens(provider, tokens, login.nonce)
        about = claims
        if provider.userinfo and endpoints.userinfo is not None:
            userinfo = await self._userinfo.fetch(provider, endpoints.userinfo, tokens.access_token, claims["sub"])
            # What the ID token says is signed, and counts where both say something.
            about = {**userinfo, **claims}
        return self._make_session(provider, tokens, claims, about)

    async def _check_tokens(self, provider: IssuerSettings, tokens: Tokens, nonce: str) -> Mapping[str, Any]:
        if tokens.id_token is None:
            raise InvalidTokenError(f"the token endpoint of {provider.name!r} answered without an ID token")
        token = await self._directory.read_token(provider.name, tokens.id_token)
        return check_id_token(token, Expectation(provider, self._clock(), self._leeway, nonce, tokens.access_token))

    def _make_session(
        self, provider: IssuerSettings, tokens: Tokens, claims: Mapping[str, Any], about: Mapping[str, Any]
    ) -> Session:
        now = self._clock()
        sid = claims.get("sid")
        return Session(
            provider=provider.name,
            issuer=claims["iss"],
            subject=claims["sub"],
            sid=sid if isinstance(sid, str) and sid else None,
            scopes=choose_scopes(provider, tokens.scopes),
            claims={name: value for name, value in about.items() if name not in _OF_PROTOCOL},
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            id_token=tokens.id_token,
            access_expires_at=tokens.expires_at,
            created_at=now,
            expires_at=now + self._settings.session_lifetime,
        )
