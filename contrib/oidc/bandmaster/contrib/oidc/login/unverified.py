"""Read the issuer of a JWT before its signature is checked, to find the keys. Nothing else may rely on it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping

from bandmaster.contrib.oidc.errors import InvalidTokenError


def read_unverified_issuer(token: str) -> Mapping[str, object]:
    """The claims ``iss`` and ``tid`` of a JWT.

    Raises:
        InvalidTokenError: the text isn't a JWT.
    """
    parts = token.split(".")
    if len(parts) != 3:
        raise InvalidTokenError("the token isn't a signed JWT")
    try:
        payload = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        claims: object = json.loads(payload)
    except (binascii.Error, ValueError, RecursionError):
        raise InvalidTokenError("the token isn't a JWT") from None
    if not isinstance(claims, dict):
        raise InvalidTokenError("the token isn't a JWT")
    return {name: claims.get(name) for name in ("iss", "tid")}
