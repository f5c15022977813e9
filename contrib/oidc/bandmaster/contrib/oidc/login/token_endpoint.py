"""Exchange codes and refresh tokens for tokens at a provider's token endpoint (RFC 6749, sections 4.1.3 and 6)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bandmaster.contrib.oidc.errors import AuthUnavailableError, InvalidTokenError
from bandmaster.contrib.oidc.login.http_calls import Answer, HttpCalls
from bandmaster.contrib.oidc.login.providers import Endpoints
from bandmaster.contrib.oidc.oauth import ERROR_CODE, make_basic, read_seconds
from bandmaster.contrib.oidc.request_params import reveal
from bandmaster.contrib.oidc.settings import IssuerSettings

ENDS_SESSION = frozenset(
    {"invalid_grant", "interaction_required", "login_required", "consent_required", "account_selection_required"}
)
"""The errors with which a provider says that this user has to log in again.

Others, such as ``invalid_client``, tell of a mistake in the settings, which isn't a reason to log everybody out.
"""

_AWAY = frozenset((408, 429, 502, 503, 504))
"""Statuses that concern every grant alike. Others may be the answer to one odd grant."""


class UnusableAnswerError(AuthUnavailableError):
    """A provider has answered one request with neither tokens nor an OAuth error. Other requests may succeed."""


class OAuthRefusalError(InvalidTokenError):
    """A provider has refused a request with an OAuth error, which ``oauth_error`` names (RFC 6749, section 5.2)."""

    def __init__(self, message: str, oauth_error: str) -> None:
        super().__init__(message)
        self.oauth_error = oauth_error

    @property
    def ends_session(self) -> bool:
        """Whether the refusal means that the user has to log in again."""
        return self.oauth_error in ENDS_SESSION


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens that a provider has issued."""

    access_token: str = field(repr=False)
    id_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    expires_at: float | None = None
    """When the access token expires, in seconds since the epoch; None: the provider doesn't say."""
    lifetime: float | None = None
    """The seconds for which the access token was issued."""
    scopes: frozenset[str] | None = None
    """The granted scopes; None: all that were asked for (RFC 6749, section 5.1)."""


class TokenEndpoint:
    """Calls the token endpoints of providers."""

    def __init__(self, calls: HttpCalls, clock: Callable[[], float] = time.time) -> None:
        self._calls = calls
        self._clock = clock

    async def exchange_code(
        self, provider: IssuerSettings, endpoints: Endpoints, *, code: str, code_verifier: str, redirect_uri: str
    ) -> Tokens:
        """Exchange an authorization code for tokens.

        Raises:
            OAuthRefusalError: the provider refuses.
            AuthUnavailableError: the provider gives no usable answer.
        """
        grant = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": code_verifier,
            "redirect_uri": redirect_uri,
        }
        return await self._request(provider, endpoints, grant)

    async def refresh(self, provider: IssuerSettings, endpoints: Endpoints, refresh_token: str) -> Tokens:
        """Exchange a refresh token for new tokens.

        Raises:
            OAuthRefusalError: the provider refuses.
            AuthUnavailableError: the provider gives no usable answer.
        """
        grant = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return await self._request(provider, endpoints, grant)

    async def _request(self, provider: IssuerSettings, endpoints: Endpoints, grant: Mapping[str, str]) -> Tokens:
        form, headers = authenticate(provider, endpoints)
        further = reveal(provider.grant_params)
        answer = await self._calls.post(
            f"token endpoint of {provider.name!r}", endpoints.token, {**further, **grant, **form}, headers
        )
        return read_answer(provider.name, answer, self._clock())


def authenticate(provider: IssuerSettings, endpoints: Endpoints) -> tuple[dict[str, str], dict[str, str]]:
    """The form fields and the headers by which a client authenticates (RFC 6749, section 2.3.1).

    Raises:
        AuthUnavailableError: the provider accepts no method that this client can use.
    """
    client_id = provider.client_id or ""
    secret = None if provider.client_secret is None else provider.client_secret.get_secret_value()
    method = _choose_method(provider, endpoints, has_secret=secret is not None)
    if method == "client_secret_basic":
        return {}, {"authorization": make_basic(client_id, secret or "")}
    if method == "client_secret_post":
        return {"client_id": client_id, "client_secret": secret or ""}, {}
    return {"client_id": client_id}, {}


def _choose_method(provider: IssuerSettings, endpoints: Endpoints, *, has_secret: bool) -> str:
    if provider.token_auth_method != "auto":  # noqa: S105  # the name of a setting's value
        return provider.token_auth_method
    if not has_secret:
        return "none"
    offered = endpoints.token_auth_methods
    for method in ("client_secret_basic", "client_secret_post"):
        if method in offered or not offered:
            return method
    raise AuthUnavailableError(
        f"the token endpoint of {provider.name!r} accepts {', '.join(offered)}, and a client secret is sent by "
        "client_secret_basic or client_secret_post; register the client for one of them"
    )


def read_answer(provider: str, answer: Answer, now: float) -> Tokens:
    """Read the answer of a token endpoint.

    Raises:
        OAuthRefusalError: the answer is an OAuth error.
        UnusableAnswerError: the answer is neither tokens nor an OAuth error.
        AuthUnavailableError: the provider is away, or overloaded.
    """
    values = answer.json
    if 400 <= answer.status < 500 and not answer.is_outage and values is not None:
        code = values.get("error")
        if isinstance(code, str) and ERROR_CODE.fullmatch(code):
            raise OAuthRefusalError(f"the token endpoint of {provider!r} answered {answer.status} {code}", code)
    if answer.status != 200 or values is None:
        kind = AuthUnavailableError if answer.status in _AWAY else UnusableAnswerError
        raise kind(f"the token endpoint of {provider!r} answered {answer.status} without tokens")
    tokens = _read_tokens(values, now)
    if tokens is None:
        raise UnusableAnswerError(f"the token endpoint of {provider!r} answered with something else than tokens")
    return tokens


def _read_tokens(values: Mapping[str, Any], now: float) -> Tokens | None:
    access_token, kind = values.get("access_token"), values.get("token_type")
    if not isinstance(access_token, str) or not access_token:
        return None
    # RFC 6749, 5.1: the type is compared without regard to case.
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return None
    for name in ("id_token", "refresh_token", "scope"):
        if not isinstance(values.get(name), str | None):
            return None
    lifetime = read_seconds(values.get("expires_in"))
    scope = values.get("scope")
    return Tokens(
        access_token=access_token,
        id_token=values.get("id_token") or None,
        refresh_token=values.get("refresh_token") or None,
        expires_at=None if lifetime is None else now + lifetime,
        lifetime=lifetime,
        scopes=None if scope is None else frozenset(scope.split()),
    )
