"""A certified OpenID provider for tests, which log in, mint tokens, rotate keys and end sessions."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlencode

from anyio import to_thread
from tests.contrib.oidc.providers.provider import Provider

PROGRAM = "certified.mjs"
REDIRECT_URI = "http://127.0.0.1/callback"
"""Where the provider sends the browser after a login of `OidcProvider.log_in`. Nobody listens there."""


@dataclass(frozen=True)
class Client:
    """A client that is registered at the provider."""

    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    """None: a public client."""
    redirect_uri: str = REDIRECT_URI

    @property
    def auth(self) -> tuple[str, str] | None:
        """The credentials for HTTP Basic authentication; None for a public client."""
        return None if self.client_secret is None else (self.client_id, self.client_secret)


@dataclass(frozen=True)
class Tokens:
    """The answer of the token endpoint."""

    access_token: str = field(repr=False)
    expires_in: int
    scope: str = ""
    id_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)


class RefusedError(Exception):
    """The provider refuses a request: ``error`` is the OAuth error code, such as ``invalid_grant``."""

    def __init__(self, status: int, answer: Mapping[str, Any]) -> None:
        self.status = status
        self.error = str(answer.get("error", ""))
        super().__init__(f"{status} {self.error}: {answer.get('error_description', '')}")


class OidcProvider(Provider):
    """The certified ``oidc-provider`` of npm.

    Whoever logs in is a user. For a resource (RFC 8707) access tokens are JWTs with that audience (RFC 9068); without
    a resource they are opaque. Refresh tokens are issued without being asked for, and rotated.
    """

    @property
    def token_path(self) -> str:
        """The path of the token endpoint, for faults and counts."""
        return "/token"

    def add_client(self, *redirect_uris: str, public: bool = False, **metadata: Any) -> Client:
        """Register a client. ``metadata`` are further members by their names in RFC 7591.

        Such as ``post_logout_redirect_uris``, ``backchannel_logout_uri``, ``id_token_signed_response_alg``.
        """
        client_id = f"client-{secrets.token_hex(4)}"
        client_secret = None if public else secrets.token_urlsafe(32)
        uris = list(redirect_uris) or [REDIRECT_URI]
        grants = ["authorization_code", "refresh_token", *([] if public else ["client_credentials"])]
        known = {
            "client_id": client_id,
            "redirect_uris": uris,
            "response_types": ["code"],
            "grant_types": grants,
            "token_endpoint_auth_method": "none" if public else "client_secret_basic",
        }
        known |= {} if client_secret is None else {"client_secret": client_secret}
        self.process.command("add_client", metadata=known | metadata)
        return Client(client_id, client_secret, uris[0])

    def set_user(self, user: str, /, **claims: Any) -> None:
        """Give a user claims of their own, such as ``groups=["admin"]``; the subject is the name."""
        self.process.command("set_user", user=user, claims=claims)

    def set_default_resource(self, resource: str) -> None:
        """Issue every access token for a resource, as a JWT, also to clients that name none.

        The userinfo endpoint takes no such token.
        """
        self.process.command("set_default_resource", resource=resource)

    def set_ttl(self, **seconds: int) -> None:
        """Set how many seconds new things live.

        ``AccessToken``, ``IdToken``, ``RefreshToken``, ``Session``, ``Grant``.
        """
        self.process.command("set_ttl", **seconds)

    def rotate_keys(self, *, keep: bool = False) -> dict[str, str]:
        """Sign with new keys from now on. Return the new key ids by algorithm.

        With ``keep`` the old keys are still published.
        """
        return dict(self.process.command("rotate_keys", keep=keep))

    def revoke_grants(self, user: str | None = None) -> int:
        """Revoke everything that a user has granted, refresh tokens included; None: every user. Return the number."""
        return int(self.process.command("revoke_grants", user=user))

    async def end_sessions(self, user: str | None = None) -> int:
        """End a user's sessions at the provider, which tells the clients (back-channel logout). Return the number."""
        command = partial(self.process.command, "end_sessions", user=user)
        # In a thread: the client that is told may run in this event loop.
        return int(await to_thread.run_sync(command))

    def keep_logouts(self) -> None:
        """Send no logout tokens to clients from now on; `logouts` has them."""
        self.process.command("keep_logouts")

    def logouts(self) -> list[dict[str, str]]:
        """The logout tokens since the test began: each a ``url`` and a ``logout_token``."""
        return list(self.process.command("logouts"))

    async def log_in(
        self,
        user: str,
        *,
        client: Client | None = None,
        scope: str = "openid",
        resource: str | None = None,
        **parameters: str,
    ) -> Tokens:
        """Log a user in by authorization code and PKCE, as an application does, and return the tokens.

        ``parameters`` are further ones of the authorization request.
        """
        client = client or self.add_client()
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        wanted = {} if resource is None else {"resource": resource}
        query = {
            "client_id": client.client_id,
            "redirect_uri": client.redirect_uri,
            "response_type": "code",
            "scope": scope,
            "state": secrets.token_urlsafe(16),
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **wanted,
            **parameters,
        }
        callback = await self.authorize(f"{self.issuer}/auth?{urlencode(query)}", user=user)
        answer = callback.parameters
        assert (query["state"], self.issuer) == (answer["state"], answer["iss"])
        if "error" in answer:
            raise RefusedError(302, answer)
        grant = {"grant_type": "authorization_code", "code": answer["code"], "code_verifier": verifier}
        return await self.request_tokens(client, redirect_uri=client.redirect_uri, **grant, **wanted)

    async def mint(
        self,
        resource: str,
        *,
        scope: str = "",
        algorithm: str = "RS256",
        opaque: bool = False,
        client: Client | None = None,
    ) -> str:
        """A JWT access token for a resource, by client credentials; or an ``opaque`` one, to be introspected.

        The algorithms are RS256, ES256 and EdDSA. The scopes that exist are ``read``, ``write`` and ``admin``.
        """
        client = client or self.add_client()
        given = {"grant_type": "client_credentials", "resource": resource, **({"scope": scope} if scope else {})}
        headers = {"x-test-algorithm": algorithm, "x-test-format": "opaque" if opaque else "jwt"}
        return (await self.request_tokens(client, headers=headers, **given)).access_token

    async def refresh(self, client: Client, refresh_token: str, **parameters: str) -> Tokens:
        """Spend a refresh token. The provider rotates it, and revokes the whole grant if a token is spent twice."""
        return await self.request_tokens(client, grant_type="refresh_token", refresh_token=refresh_token, **parameters)

    async def request_tokens(self, client: Client, *, headers: Mapping[str, str] | None = None, **form: str) -> Tokens:
        """Ask the token endpoint.

        Raises:
            RefusedError: the provider refuses.
        """
        answer = await self._post(self.token_path, client, form, headers or {})
        names = Tokens.__dataclass_fields__
        return Tokens(**{name: value for name, value in answer.items() if name in names})

    async def introspect(self, client: Client, token: str) -> dict[str, Any]:
        """Ask whether a token is active, and for its members (RFC 7662)."""
        return await self._post("/token/introspection", client, {"token": token}, {})

    async def revoke(self, client: Client, token: str) -> None:
        """Revoke a token (RFC 7009)."""
        await self._post("/token/revocation", client, {"token": token}, {})

    async def userinfo(self, access_token: str) -> dict[str, Any]:
        """Read the claims of the user that an access token belongs to.

        Raises:
            RefusedError: the provider refuses.
        """
        async with self.process.open_client() as http:
            answer = await http.get(f"{self.issuer}/me", headers={"authorization": f"Bearer {access_token}"})
        if answer.status_code != 200:
            raise RefusedError(answer.status_code, answer.json())
        return dict(answer.json())

    async def _post(
        self, path: str, client: Client, form: Mapping[str, str], headers: Mapping[str, str]
    ) -> dict[str, Any]:
        fields = dict(form) if client.auth else {**form, "client_id": client.client_id}
        options: dict[str, Any] = {"auth": client.auth} if client.auth else {}
        async with self.process.open_client() as http:
            answer = await http.post(f"{self.issuer}{path}", data=fields, headers=dict(headers), **options)
        if answer.status_code != 200:
            raise RefusedError(answer.status_code, answer.json())
        return dict(answer.json()) if answer.content else {}
