"""Read which client calls the provider for development. Any client is known, and its secret isn't checked."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from urllib.parse import unquote_plus

from bandmaster.contrib.oidc.devprovider.messages import OAuthError


def read_client(headers: Mapping[str, str], form: Mapping[str, str]) -> str:
    """The client's id, from the Authorization header or the form (RFC 6749, section 2.3.1).

    Raises:
        OAuthError: neither names a client, they name two, or the header can't be read.
    """
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    named = form.get("client_id")
    if not scheme:
        if named is None:
            raise OAuthError("invalid_client", "client_id is missing", status=401)
        return named
    by_header = _read_basic(credentials) if scheme.lower() == "basic" else None
    if by_header is None:
        raise OAuthError("invalid_client", "the Authorization header isn't HTTP Basic authentication", status=401)
    if named not in (None, by_header):
        raise OAuthError("invalid_request", "the header and the form name two clients")
    return by_header


def _read_basic(credentials: str) -> str | None:
    try:
        name, colon, _ = base64.b64decode(credentials.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return unquote_plus(name) if colon and name else None
