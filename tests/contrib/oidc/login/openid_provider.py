"""An OpenID provider for tests: honest by default, and hostile as far as a test asks for it."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

import anyio
from joserfc import jws
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

EVENT = "http://schemas.openid.net/event/backchannel-logout"
_KEYS: dict[str, Any] = {}


def make_key(kind: str, kid: str) -> Any:
    """A signing key, made once for the whole run: RSA keys take a while."""
    if (kind, kid) not in _KEYS:
        parameters = {"kid": kid, "use": "sig"}
        if kind == "RS256":
            _KEYS[kind, kid] = RSAKey.generate_key(2048, parameters=parameters)
        elif kind == "ES256":
            _KEYS[kind, kid] = ECKey.generate_key("P-256", parameters=parameters)
        else:
            _KEYS[kind, kid] = OKPKey.generate_key("Ed25519", parameters=parameters)
    return _KEYS[kind, kid]


def hash_half(text: str, algorithm: str) -> str:
    """The ``at_hash`` of a token."""
    digest = (hashlib.sha512 if algorithm == "EdDSA" else hashlib.sha256)(text.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


@dataclass
class Grant:
    """A code, or the family of refresh tokens that began with a code."""

    request: dict[str, str]
    refresh_tokens: list[str] = field(default_factory=list)
    """Every refresh token of the family; the last one is the current one."""
    revoked: bool = False
    used: bool = False


@dataclass
class OpenIDProvider:
    """Serves the endpoints of a provider at ``issuer``, and signs in ``user`` at once."""

    issuer: str = "https://op.example"
    client_id: str = "shop"
    client_secret: str | None = "s3cr:et /+"
    redirect_uris: tuple[str, ...] = ("https://app.example/auth/callback",)
    logout_uris: tuple[str, ...] = ("https://app.example/auth/logged-out",)
    user: str = "alice"
    sid: str | None = "op-session-1"
    algorithm: str = "RS256"
    token_lifetime: float | None = 300
    issues_refresh_tokens: bool = True
    rotates: bool = True
    sends_iss: bool = True
    has_end_session: bool = True
    has_userinfo: bool = True
    auth_methods: tuple[str, ...] = ("client_secret_basic",)
    clock: Callable[[], float] = time.time

    # What a hostile provider changes. Each takes what is honest and returns what is sent.
    change_authorization: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    change_claims: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    change_header: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    change_tokens: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    change_userinfo: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    change_discovery: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    signing_key: Any = None
    """A key that signs in place of the published one."""
    token_answer: Callable[[], Response] | None = None
    """The answer of the token endpoint, in place of an honest one."""
    userinfo_answer: Callable[[], Response] | None = None
    token_gate: anyio.Event | None = None
    """The token endpoint waits for it: an endpoint that takes its time."""
    is_down: bool = False
    hides_keys: bool = False

    codes: dict[str, Grant] = field(default_factory=dict)
    grants: list[Grant] = field(default_factory=list)
    access_tokens: dict[str, str] = field(default_factory=dict)
    token_requests: list[dict[str, str]] = field(default_factory=list)
    token_headers: list[dict[str, str]] = field(default_factory=list)
    authorizations: list[dict[str, str]] = field(default_factory=list)
    userinfo_requests: int = 0
    key_requests: int = 0
    discovery_requests: int = 0
    logouts: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keys = [make_key(self.algorithm, "first")]
        routes = [
            Route("/.well-known/openid-configuration", self._discover),
            Route("/jwks", self._list_keys),
            Route("/authorize", self._authorize),
            Route("/token", self._issue, methods=["POST"]),
            Route("/userinfo", self._tell),
            Route("/logout", self._log_out),
        ]
        self._app = Starlette(routes=routes)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.is_down:
            raise ConnectionRefusedError("the provider is down")
        await self._app(scope, receive, send)

    async def _discover(self, request: Request) -> Response:
        self.discovery_requests += 1
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.algorithm],
            "token_endpoint_auth_methods_supported": list(self.auth_methods),
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": self.sends_iss,
        }
        if self.has_userinfo:
            document["userinfo_endpoint"] = f"{self.issuer}/userinfo"
        if self.has_end_session:
            document["end_session_endpoint"] = f"{self.issuer}/logout"
        return JSONResponse(_change(self.change_discovery, document))

    async def _list_keys(self, request: Request) -> Response:
        self.key_requests += 1
        if self.hides_keys:
            return Response(status_code=503)
        return JSONResponse({"keys": [key.as_dict(private=False) for key in self.keys]})

    async def _authorize(self, request: Request) -> Response:
        sent = dict(request.query_params)
        self.authorizations.append(sent)
        assert sent["client_id"] == self.client_id, "the client isn't known"
        assert sent["redirect_uri"] in self.redirect_uris, "the redirect address isn't registered"
        assert sent["response_type"] == "code"
        assert sent["code_challenge_method"] == "S256"
        assert len(sent["code_challenge"]) == 43
        assert "openid" in sent["scope"].split()
        code = secrets.token_urlsafe(16)
        self.codes[code] = Grant(sent)
        answer: dict[str, Any] = {"code": code, "state": sent["state"]}
        if self.sends_iss:
            answer["iss"] = self.issuer
        answer = _change(self.change_authorization, answer)
        if sent.get("response_mode") == "form_post":
            inputs = "".join(f'<input name="{name}" value="{value}">' for name, value in answer.items())
            return HTMLResponse(f'<form method="post" action="{sent["redirect_uri"]}">{inputs}</form>')
        return RedirectResponse(f"{sent['redirect_uri']}?{urlencode(answer)}", 302)

    async def _issue(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True, strict_parsing=True))
        self.token_requests.append(form)
        self.token_headers.append(dict(request.headers))
        if self.token_gate is not None:
            await self.token_gate.wait()
        if self.token_answer is not None:
            return self.token_answer()
        if not self._is_authenticated(request, form):
            return JSONResponse({"error": "invalid_client"}, 401)
        if form["grant_type"] == "authorization_code":
            return self._redeem_code(form)
        return self._redeem_refresh_token(form)

    def _is_authenticated(self, request: Request, form: dict[str, str]) -> bool:
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            name, _, secret = base64.b64decode(encoded).decode().partition(":")
            given = unquote_plus(name), unquote_plus(secret)
            method = "client_secret_basic"
        else:
            given = form.get("client_id", ""), form.get("client_secret")
            method = "none" if given[1] is None else "client_secret_post"
        return method in self.auth_methods and given == (self.client_id, self.client_secret)

    def _redeem_code(self, form: dict[str, str]) -> Response:
        grant = self.codes.get(form["code"])
        if grant is None:
            return JSONResponse({"error": "invalid_grant"}, 400)
        if grant.used:
            grant.revoked = True
            return JSONResponse({"error": "invalid_grant"}, 400)
        grant.used = True
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        if challenge.decode() != grant.request["code_challenge"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        if form["redirect_uri"] != grant.request["redirect_uri"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        self.grants.append(grant)
        return self._make_tokens(grant, nonce=grant.request.get("nonce"))

    def _redeem_refresh_token(self, form: dict[str, str]) -> Response:
        token = form["refresh_token"]
        grant = next((one for one in self.grants if token in one.refresh_tokens), None)
        if grant is None or grant.revoked:
            return JSONResponse({"error": "invalid_grant"}, 400)
        if self.rotates and token != grant.refresh_tokens[-1]:
            # RFC 9700, 4.14.2: a used token is sent again, so one of two senders has stolen it.
            grant.revoked = True
            return JSONResponse({"error": "invalid_grant"}, 400)
        return self._make_tokens(grant, nonce=None)

    def _make_tokens(self, grant: Grant, nonce: str | None) -> Response:
        access_token = secrets.token_urlsafe(16)
        self.access_tokens[access_token] = self.user
        tokens: dict[str, Any] = {
            "access_token": access_token,
            "token_type": "Bearer",
            "id_token": self.sign(self.make_claims(nonce, access_token)),
            "scope": grant.request["scope"],
        }
        if self.token_lifetime is not None:
            tokens["expires_in"] = self.token_lifetime
        if self.issues_refresh_tokens:
            if self.rotates or not grant.refresh_tokens:
                grant.refresh_tokens.append(secrets.token_urlsafe(16))
            tokens["refresh_token"] = grant.refresh_tokens[-1]
        return JSONResponse(_change(self.change_tokens, tokens), headers={"cache-control": "no-store"})

    def make_claims(self, nonce: str | None, access_token: str) -> dict[str, Any]:
        """The claims of an ID token."""
        now = int(self.clock())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "sub": self.user,
            "aud": self.client_id,
            "iat": now,
            "exp": now + 300,
            "auth_time": now,
            "at_hash": hash_half(access_token, self.algorithm),
        }
        if nonce is not None:
            claims["nonce"] = nonce
        if self.sid is not None:
            claims["sid"] = self.sid
        return _change(self.change_claims, claims)

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        """A JWT with these claims."""
        key = self.signing_key or self.keys[-1]
        made = _change(self.change_header, {"alg": self.algorithm, "kid": self.keys[-1].kid, **header})
        if made["alg"] == "none":
            parts = [json.dumps(part).encode() for part in (made, claims)]
            return ".".join([*(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts), ""])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # EdDSA has another name since RFC 9864
            return jws.serialize_compact(made, json.dumps(claims), key, [made["alg"]])

    def make_logout_token(self, **changes: Any) -> str:
        """A logout token; a change to None leaves a claim out."""
        now = int(self.clock())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": self.client_id,
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_hex(8),
            "events": {EVENT: {}},
            "sub": self.user,
            "sid": self.sid,
            **changes,
        }
        known = {name: value for name, value in claims.items() if value is not None}
        return self.sign(known, typ="logout+jwt")

    async def _tell(self, request: Request) -> Response:
        self.userinfo_requests += 1
        if self.userinfo_answer is not None:
            return self.userinfo_answer()
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        user = self.access_tokens.get(token)
        if scheme != "Bearer" or user is None:
            return JSONResponse({"error": "invalid_token"}, 401)
        told = {"sub": user, "name": f"{user.title()} Example", "email": f"{user}@example.org"}
        return JSONResponse(_change(self.change_userinfo, told))

    async def _log_out(self, request: Request) -> Response:
        sent = dict(request.query_params)
        self.logouts.append(sent)
        target = sent["post_logout_redirect_uri"]
        assert target in self.logout_uris, "the address after a logout isn't registered"
        return RedirectResponse(f"{target}?{urlencode({'state': sent['state']})}", 302)

    def rotate_keys(self, *, keep_old: bool = False) -> None:
        """Sign with another key from now on."""
        key = make_key(self.algorithm, f"key-{len(_KEYS)}")
        self.keys = [*self.keys, key] if keep_old else [key]


def _change(change: Callable[[dict[str, Any]], dict[str, Any]] | None, honest: dict[str, Any]) -> dict[str, Any]:
    return honest if change is None else change(honest)
