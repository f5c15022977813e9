"""Build authorization requests, and read the providers' responses (OpenID Connect Core, section 3.1.2). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit

from bandmaster.contrib.oidc.errors import InvalidRequestError
from bandmaster.contrib.oidc.login.pending import PendingLogin
from bandmaster.contrib.oidc.login.providers import Endpoints
from bandmaster.contrib.oidc.request_params import reveal
from bandmaster.contrib.oidc.settings import IssuerSettings

_ERROR_CODE = re.compile(r"[a-z_]{1,40}")
_MOST_CHARACTERS = 8192
_MOST_FIELDS = 20
FIELDS = ("code", "state", "iss", "error", "error_description", "session_state")
"""The fields of an authorization response."""


@dataclass(frozen=True, slots=True)
class AuthorizationResponse:
    """An authorization response, as the provider has sent the fields to the redirect address."""

    state: str = field(repr=False)
    code: str | None = field(default=None, repr=False)
    issuer: str | None = None
    error: str | None = None
    description: str | None = field(default=None, repr=False)


def build_authorization_url(
    provider: IssuerSettings,
    endpoints: Endpoints,
    login: PendingLogin,
    redirect_uri: str,
    *,
    login_hint: str | None = None,
) -> str:
    """The address at the provider to which the browser is sent.

    The parameters that protect the login can't be overridden by ``authorize_params``.
    """
    parameters = {
        "login_hint": login_hint,
        **reveal(provider.authorize_params),
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": redirect_uri,
        "scope": " ".join(list_scopes(provider)),
        "state": login.state,
        "nonce": login.nonce,
        "code_challenge": login.code_challenge,
        "code_challenge_method": "S256",
        "response_mode": provider.response_mode if provider.response_mode != "query" else None,
    }
    query = urlencode({name: value for name, value in parameters.items() if value is not None})
    # RFC 6749, 3.1: the endpoint may have a query of its own, which is kept.
    separator = "&" if urlsplit(endpoints.authorization).query else "?"
    return f"{endpoints.authorization}{separator}{query}"


def list_scopes(provider: IssuerSettings) -> tuple[str, ...]:
    """The scopes that a login asks for: ``openid``, and those of both settings that can name some."""
    more = reveal(provider.authorize_params).get("scope", "").split()
    return tuple(dict.fromkeys(["openid", *provider.login_scopes, *more]))


def choose_scopes(provider: IssuerSettings, granted: frozenset[str] | None) -> frozenset[str]:
    """The scopes of a session: those that a login asks for, as far as the provider grants them.

    None means that the provider grants all of them (RFC 6749, section 5.1). Others don't count: the request goes
    through the browser, whose user can add scopes, and many providers grant what is asked for.
    """
    asked = frozenset(list_scopes(provider))
    return asked if granted is None else asked & granted


def read_fields(encoded: bytes) -> dict[str, str]:
    """The fields of a query, or of a form, each once.

    Raises:
        InvalidRequestError: there are too many fields, a field is too long or twice, or the text can't be decoded.
    """
    if len(encoded) > _MOST_CHARACTERS * 2:
        raise InvalidRequestError("the fields are too long")
    try:
        pairs = parse_qsl(encoded.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError as error:
        raise InvalidRequestError("the fields can't be decoded") from error
    fields = dict(pairs)
    # RFC 6749, 3.1: parameters must not be included more than once.
    if len(fields) < len(pairs):
        raise InvalidRequestError("a field comes twice")
    return fields


def read_response(fields: Mapping[str, str]) -> AuthorizationResponse:
    """Read an authorization response.

    Raises:
        InvalidRequestError: there is no state, or not exactly one of a code and an error (RFC 6749, sections 4.1.2 and
            4.1.2.1).
    """
    state, code, error = fields.get("state", ""), fields.get("code") or None, fields.get("error") or None
    if not state or len(state) > _MOST_CHARACTERS:
        raise InvalidRequestError("the authorization response has no state")
    if error is not None and not _ERROR_CODE.fullmatch(error):
        error = "unknown_error"
    if code is not None and error is not None:
        raise InvalidRequestError("the authorization response has both a code and an error")
    if code is None and error is None:
        raise InvalidRequestError("the authorization response has neither a code nor an error")
    return AuthorizationResponse(state, code, fields.get("iss"), error, fields.get("error_description"))


def check_response_issuer(provider: IssuerSettings, endpoints: Endpoints, response: AuthorizationResponse) -> None:
    """Check the issuer of an authorization response: an answer of another provider is refused (RFC 9207, section 2.4).

    Raises:
        InvalidRequestError: the issuer is another one, or is missing although the provider promises to name the issuer.
    """
    if response.issuer is None:
        if endpoints.sends_issuer:
            raise InvalidRequestError(f"the authorization response of {provider.name!r} doesn't name its issuer")
        return
    if response.issuer not in provider.issuers:
        raise InvalidRequestError(f"the authorization response isn't of {provider.name!r}, where the login began")
