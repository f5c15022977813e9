"""Protect requests that a session cookie authenticates against pages of other origins. Pure."""

from __future__ import annotations

import hmac
from collections.abc import Collection
from enum import Enum

from starlette.types import Scope

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""The methods that change nothing (RFC 9110, section 9.2.1)."""
TOKEN_HEADER = b"x-csrf-token"


class Sender(Enum):
    """Which page has sent a request, as far as the headers tell."""

    OURS = "a page of our own or of a trusted origin, or the user"
    FOREIGN = "a page of another origin"
    UNKNOWN = "a program, or an old browser"


def find_sender(scope: Scope, origins: Collection[str]) -> Sender:
    """Find out which page has sent a request; ``origins`` are our own origin and the trusted ones.

    Browsers set ``Sec-Fetch-Site`` (Fetch Metadata) and ``Origin`` themselves, and pages can't. The Host header plays
    no part. Pages of sibling hosts (``same-site``) count as foreign.
    """
    site = origin = None
    for name, value in scope["headers"]:
        if name == b"sec-fetch-site":
            site = value
        elif name == b"origin":
            origin = value.decode("latin-1")
    if origin is not None and origin in origins:
        return Sender.OURS
    if site is not None:
        return Sender.OURS if site in (b"same-origin", b"none") else Sender.FOREIGN
    return Sender.UNKNOWN if origin is None else Sender.FOREIGN


def is_token(sent: str | None, csrf_token: str) -> bool:
    """Whether a token that a page has sent is the session's."""
    return sent is not None and hmac.compare_digest(sent.encode(), csrf_token.encode())


def find_token(scope: Scope) -> str | None:
    """The token in the header ``X-CSRF-Token``."""
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == TOKEN_HEADER), None)


def may_change(scope: Scope, origins: Collection[str], csrf_token: str) -> bool:
    """Whether a request may change something: a safe method, a page of ours, or the session's token.

    A page of another origin can't set the header, unless CORS allows that, and can't read the token, which
    ``/auth/profile`` gives.
    """
    if scope["method"] in SAFE_METHODS or find_sender(scope, origins) is Sender.OURS:
        return True
    return is_token(find_token(scope), csrf_token)
