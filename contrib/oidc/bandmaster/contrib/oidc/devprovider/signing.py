"""Sign and read tokens by the key of the provider for development."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from joserfc.jwk import RSAKey

ALGORITHM = "RS256"
"""Every OpenID provider supports this algorithm (OpenID Connect Core, section 15.1)."""


# Discovery imports this module in every application with this package, and few of them use the provider: joserfc and
# cryptography are imported by the functions that need them.
class SigningKey:
    """A key pair that lives as long as the process."""

    _key: RSAKey

    def __init__(self) -> None:
        from joserfc.jwk import RSAKey

        self._key = RSAKey.generate_key(2048, {"use": "sig", "alg": ALGORITHM}, private=True)
        self._key.ensure_kid()

    def publish(self) -> dict[str, Any]:
        """The key set with the public key."""
        return {"keys": [self._key.as_dict(private=False)]}

    def sign(self, kind: str, claims: Mapping[str, Any]) -> str:
        """Sign a token of a type, such as ``at+jwt``."""
        from joserfc import jwt

        return jwt.encode({"alg": ALGORITHM, "kid": self._key.kid, "typ": kind}, dict(claims), self._key)

    def read(self, kind: str, token: str) -> dict[str, Any] | None:
        """The claims of a token of a type that this key has signed, expired or not; None for any other text."""
        from joserfc import jwt
        from joserfc.errors import JoseError

        try:
            found = jwt.decode(token, self._key, algorithms=[ALGORITHM])
        except (JoseError, ValueError):
            return None
        return dict(found.claims) if found.header.get("typ") == kind else None


def hash_token(token: str) -> str:
    """The ``at_hash`` of an access token (OpenID Connect Core, section 3.1.3.6)."""
    return encode_base64(hashlib.sha256(token.encode()).digest()[:16])


def hash_verifier(verifier: str) -> str:
    """The S256 challenge of a code verifier (RFC 7636, section 4.2)."""
    return encode_base64(hashlib.sha256(verifier.encode()).digest())


def encode_base64(data: bytes) -> str:
    """URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
