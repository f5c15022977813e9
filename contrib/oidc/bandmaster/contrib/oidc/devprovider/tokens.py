"""The tokens of the provider for development: RFC 9068 access tokens and OpenID Connect ID tokens."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bandmaster.contrib.oidc.devprovider.grants import Grant
from bandmaster.contrib.oidc.devprovider.settings import DevUser
from bandmaster.contrib.oidc.devprovider.signing import SigningKey, hash_token

_ACCESS = "at+jwt"


@dataclass(frozen=True, slots=True)
class Issued:
    """Tokens that have just been issued."""

    access_token: str = field(repr=False)
    seconds: int
    scopes: tuple[str, ...]
    id_token: str | None = field(default=None, repr=False)

    def as_answer(self) -> dict[str, Any]:
        """The members of a token response (RFC 6749, section 5.1)."""
        answer: dict[str, Any] = {
            "access_token": self.access_token,
            "token_type": "Bearer",
            "expires_in": self.seconds,
            "scope": " ".join(self.scopes),
        }
        return answer if self.id_token is None else {**answer, "id_token": self.id_token}


@dataclass(frozen=True, slots=True)
class TokenIssuer:
    """Issues tokens by one key, for the audiences of the application unless a client names a resource (RFC 8707)."""

    issuer: str
    key: SigningKey = field(repr=False)
    audiences: tuple[str, ...]
    seconds: int

    def issue_to_user(self, grant: Grant, resource: str | None, now: float) -> Issued:
        """Tokens for a user who has logged in; an ID token if the scope ``openid`` is granted."""
        subject, scopes = grant.user.subject, grant.scopes
        extra = {"sid": grant.session, "auth_time": int(grant.logged_in_at)}
        access = self._sign_access(subject, grant.client_id, scopes, resource or grant.resource, now, **extra)
        if "openid" not in scopes:
            return Issued(access, self.seconds, scopes)
        known = {
            **describe_user(grant.user, scopes),
            **extra,
            **self._describe_validity(now),
            "sub": subject,
            "aud": grant.client_id,
            "at_hash": hash_token(access),
        }
        nonce = {} if grant.nonce is None else {"nonce": grant.nonce}
        return Issued(access, self.seconds, scopes, self.key.sign("JWT", known | nonce))

    def issue_to_client(self, client_id: str, scopes: tuple[str, ...], resource: str | None, now: float) -> Issued:
        """An access token for an application itself."""
        return Issued(self._sign_access(client_id, client_id, scopes, resource, now), self.seconds, scopes)

    def read_access_token(self, token: str, now: float) -> dict[str, Any] | None:
        """The claims of an access token that holds; None for anything else."""
        claims = self.key.read(_ACCESS, token)
        return None if claims is None or claims["exp"] <= now else claims

    def _sign_access(
        self, subject: str, client_id: str, scopes: tuple[str, ...], resource: str | None, now: float, **extra: Any
    ) -> str:
        audience = resource or (list(self.audiences) or client_id)
        return self.key.sign(
            _ACCESS,
            {
                **extra,
                **self._describe_validity(now),
                "sub": subject,
                "aud": audience,
                "client_id": client_id,
                "scope": " ".join(scopes),
                "jti": secrets.token_urlsafe(16),
            },
        )

    def _describe_validity(self, now: float) -> dict[str, Any]:
        return {"iss": self.issuer, "iat": int(now), "exp": int(now) + self.seconds}


def describe_user(user: DevUser, scopes: Iterable[str]) -> dict[str, Any]:
    """The claims of a user that scopes release (OpenID Connect Core, section 5.4), and the user's own ones."""
    wanted = set(scopes)
    found: dict[str, Any] = {}
    if "profile" in wanted:
        found |= {"name": user.subject, "preferred_username": user.subject}
    if "email" in wanted:
        found |= {"email": f"{user.subject}@example.com", "email_verified": True}
    return found | dict(user.claims)


def may_grant(user: DevUser, scope: str) -> bool:
    """Whether a user may grant a scope. The scopes of OpenID Connect itself are everybody's."""
    return user.scopes is None or scope in user.scopes or scope in ("openid", "profile", "email", "offline_access")
