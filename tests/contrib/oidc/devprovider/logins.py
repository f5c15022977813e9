"""Requests to the provider for development, without a network, and a whole login."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from bandmaster.contrib.oidc.devprovider.messages import Request, Response
from bandmaster.contrib.oidc.devprovider.provider import DevProvider
from bandmaster.contrib.oidc.devprovider.signing import hash_verifier

CALLBACK = "http://127.0.0.1:8000/auth/callback"
VERIFIER = "v" * 43
FORM = "application/x-www-form-urlencoded"


def ask(
    provider: DevProvider, method: str, target: str, form: dict[str, str] | None = None, **headers: str
) -> Response:
    """Send a request as a client does."""
    known = {"host": urlsplit(provider.issuer).netloc} | ({} if form is None else {"content-type": FORM})
    body = b"" if form is None else urlencode(form).encode()
    return provider.answer(Request(method, target, known | headers, body))


def login_target(**parameters: str | None) -> str:
    """The target of an authorization request; None leaves a parameter out."""
    query = {
        "client_id": "shop",
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "scope": "openid profile sales",
        "state": "kept",
        "nonce": "once",
        "code_challenge": hash_verifier(VERIFIER),
        "code_challenge_method": "S256",
        **parameters,
    }
    return f"/authorize?{urlencode({name: value for name, value in query.items() if value is not None})}"


def read_redirect(response: Response) -> tuple[str, dict[str, str]]:
    """The address of a redirect, and its parameters."""
    assert 303 == response.status, response
    address, _, query = response.headers["location"].partition("?")
    return address, dict(parse_qsl(query))


def choose(provider: DevProvider, user: str, **parameters: str | None) -> str:
    """Log in as a user, and return the code."""
    address, answer = read_redirect(ask(provider, "POST", login_target(**parameters), {"user": user}))
    assert (parameters.get("redirect_uri") or CALLBACK, provider.issuer, "kept") == (
        address,
        answer["iss"],
        answer["state"],
    )
    return answer["code"]


def redeem(provider: DevProvider, code: str, /, **changes: str) -> Response:
    """Spend a code, as the application does after the callback."""
    form = {"grant_type": "authorization_code", "client_id": "shop", "redirect_uri": CALLBACK}
    return ask(provider, "POST", "/token", {**form, "code": code, "code_verifier": VERIFIER, **changes})


def refresh(provider: DevProvider, token: str, client_id: str = "shop") -> Response:
    """Spend a refresh token."""
    form = {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": token}
    return ask(provider, "POST", "/token", form)


def read_json(response: Response) -> dict[str, Any]:
    """The JSON object of a response."""
    return dict(json.loads(response.body))


def log_in(provider: DevProvider, user: str = "alice", **parameters: str | None) -> dict[str, Any]:
    """Log in and redeem the code. The answer of the token endpoint."""
    answer = redeem(provider, choose(provider, user, **parameters))
    assert 200 == answer.status, answer.body
    return read_json(answer)
