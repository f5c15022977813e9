"""Read and judge an authorization request (RFC 6749, section 4.1.1; RFC 7636; OpenID Connect Core, section 3.1.2.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from bandmaster.contrib.oidc.devprovider.messages import OAuthError
from bandmaster.contrib.oidc.devprovider.settings import LOOPBACK_HOSTS

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
"""A SHA-256 hash in URL-safe base64."""


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """The parameters with which an application sends a browser to the provider."""

    client_id: str
    redirect_uri: str
    state: str | None = field(repr=False)
    nonce: str | None = field(repr=False)
    challenge: str = field(repr=False)
    scopes: tuple[str, ...]
    resource: str | None
    prompt: frozenset[str]
    login_hint: str | None
    problem: OAuthError | None
    """Why the application gets an error instead of a code; None if nothing is wrong."""


def read_authorization(query: Mapping[str, str]) -> AuthorizationRequest:
    """Read the parameters of an authorization request.

    Raises:
        OAuthError: the client or the redirect address is missing or isn't allowed, so that no redirect may happen.
    """
    client_id, redirect_uri = query.get("client_id"), query.get("redirect_uri")
    if client_id is None:
        raise OAuthError("invalid_request", "client_id is missing")
    if redirect_uri is None or not is_on_this_machine(redirect_uri):
        raise OAuthError("invalid_request", "redirect_uri must be an http or https address of this machine")
    return AuthorizationRequest(
        client_id=client_id,
        redirect_uri=redirect_uri,
        state=query.get("state"),
        nonce=query.get("nonce"),
        challenge=query.get("code_challenge", ""),
        scopes=tuple(dict.fromkeys(query.get("scope", "").split())),
        resource=query.get("resource"),
        prompt=frozenset(query.get("prompt", "").split()),
        login_hint=query.get("login_hint"),
        problem=_find_problem(query),
    )


def is_on_this_machine(url: str) -> bool:
    """Whether an address is of this machine, over HTTP, and fit for a redirect."""
    try:
        parts = urlsplit(url)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    # Headers have ASCII only; other characters of an address are percent-encoded (RFC 3986, section 2.1).
    is_plain = url.isascii() and url.isprintable() and "#" not in url and "\\" not in url and parts.username is None
    return parts.scheme in ("http", "https") and parts.hostname in LOOPBACK_HOSTS and is_plain and has_port


def _find_problem(query: Mapping[str, str]) -> OAuthError | None:
    if "request" in query:
        return OAuthError("request_not_supported", "request objects aren't supported")
    if "request_uri" in query:
        return OAuthError("request_uri_not_supported", "request objects aren't supported")
    if query.get("response_type") != "code":
        return OAuthError("unsupported_response_type", "response_type must be code")
    if query.get("response_mode", "query") != "query":
        return OAuthError("invalid_request", "response_mode must be query")
    if query.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(query.get("code_challenge", "")):
        return OAuthError("invalid_request", "code_challenge is required, with code_challenge_method=S256")
    return None
