"""Parse a bearer token strictly, before anything is verified. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from joserfc.util import urlsafe_b64decode

from bandmaster.contrib.oidc.errors import InvalidTokenError
from bandmaster.contrib.oidc.strict_json import parse_object

_SEEN_HEADERS = 256
"""Different headers that are kept parsed. All tokens of one key have the same."""
_LONGEST_KEPT = 1024
_LONGEST_ID = 512


@dataclass(frozen=True, slots=True)
class TokenHeader:
    """The header of a signed token.

    Parameters that would bring or name a key (``jwk``, ``jku``, ``x5u``, ``x5c``) aren't read: keys come from the
    provider alone.
    """

    algorithm: str
    kid: str | None
    type: str
    """``typ`` in lower case, without ``application/``; empty if there is none."""


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """The parts of a signed message in compact form (RFC 7515, section 7.1). Nothing about it is verified."""

    header: TokenHeader
    payload: bytes = field(repr=False)
    signed: bytes = field(repr=False)
    """The bytes that the signature is over."""
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ParsedToken:
    """A token whose parts are well-formed. Nothing about it is verified."""

    message: SignedMessage
    claims: dict[str, Any] = field(repr=False)


def parse_token(token: str, max_bytes: int) -> ParsedToken:
    """The parts of a signed JWT in compact form.

    Raises:
        InvalidTokenError: the token is something else, is too long, or breaks a rule of RFC 7515, 7519 or 8725.
    """
    message = parse_message(token, max_bytes)
    return ParsedToken(message, _parse_object(message.payload, "payload"))


def parse_message(token: str, max_bytes: int) -> SignedMessage:
    """The parts of a signed message in compact form, with any payload.

    Raises:
        InvalidTokenError: the text is something else, or is too long.
    """
    if len(token) > max_bytes:
        raise InvalidTokenError(f"the token has more than {max_bytes} bytes")
    try:
        data = token.encode("ascii")
    except UnicodeEncodeError:
        raise InvalidTokenError("the token has characters beyond ASCII") from None
    signed, _, last = data.rpartition(b".")
    first, separator, payload = signed.partition(b".")
    if not separator or b"." in payload:
        raise InvalidTokenError("the token doesn't have the three parts of a signed JWT")
    header = parse_header(first)
    signature = _decode(last, "signature")
    if not signature:
        raise InvalidTokenError("the token isn't signed")
    return SignedMessage(header, _decode(payload, "payload"), signed, signature)


def parse_header(segment: bytes) -> TokenHeader:
    """The header in the first part of a token.

    Raises:
        InvalidTokenError: the part isn't a header of a signed token, or demands an extension.
    """
    # Beyond that length a header holds a certificate, say, and would fill the memory of all that are kept.
    return _parse_kept(segment) if len(segment) <= _LONGEST_KEPT else _parse(segment)


def _parse(segment: bytes) -> TokenHeader:
    header = _parse_object(_decode(segment, "header"), "header")
    # RFC 7515, section 4.1.11: an extension that isn't understood must be refused, and none is. RFC 7797's b64 changes
    # the signed bytes.
    for name in ("crit", "b64", "enc", "zip"):
        if name in header:
            raise InvalidTokenError(f"the token's header has {name!r}")
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "")
    if not isinstance(algorithm, str) or not algorithm:
        raise InvalidTokenError("the token's header names no algorithm")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= _LONGEST_ID):
        raise InvalidTokenError("the token's header has a key id that isn't a short text")
    if not isinstance(kind, str):
        raise InvalidTokenError("the token's header has a type that isn't a text")
    if "cty" in header:
        raise InvalidTokenError("the token's header has 'cty': nested tokens aren't accepted")
    return TokenHeader(algorithm, kid, kind.lower().removeprefix("application/"))


_parse_kept = lru_cache(_SEEN_HEADERS)(_parse)


def _parse_object(data: bytes, part: str) -> dict[str, Any]:
    try:
        return parse_object(data)
    except ValueError as error:
        raise InvalidTokenError(f"the token's {part} {error}") from None


def _decode(segment: bytes, part: str) -> bytes:
    try:
        return urlsafe_b64decode(segment)
    except ValueError:
        raise InvalidTokenError(f"the token's {part} isn't base64url") from None
