"""Find the bearer token of a request or a WebSocket. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.types import Scope

from bandmaster.contrib.oidc.errors import InvalidRequestError

SUBPROTOCOL = "bearer"
"""The subprotocol by which a page says that a WebSocket carries a token: alone, the token is the first message."""
TOKEN_SUBPROTOCOL = "bearer."  # noqa: S105  # no token, but the text before one
"""The text before a token that a page offers as a subprotocol."""

# RFC 6750, 2.1: b64token.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


@dataclass(frozen=True, slots=True)
class Credential:
    """The bearer token that a request carries."""

    token: str | None = None
    in_header: bool = False
    """Whether the token is in the Authorization header."""
    in_first_message: bool = False
    """Whether a WebSocket sends the token as the first message."""

    def __repr__(self) -> str:
        return f"<Credential, {'no token' if self.token is None else 'with a token'}>"


def find_credential(scope: Scope) -> Credential:
    """The bearer token in the Authorization header (RFC 6750, section 2.1) or in a WebSocket's subprotocols.

    Other schemes of the Authorization header aren't bearer tokens, and are left to others. The query is never searched:
    queries get into logs (RFC 6750, section 5.3).

    Raises:
        InvalidRequestError: there are several tokens, or the header has no well-formed one.
    """
    headers = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(headers) > 1:
        raise InvalidRequestError("there are several Authorization headers")
    token = _read_header(headers[0]) if headers else None
    if scope["type"] != "websocket":
        return Credential(token, in_header=token is not None)
    offered = list(scope.get("subprotocols") or ())
    carried = [name.removeprefix(TOKEN_SUBPROTOCOL) for name in offered if name.startswith(TOKEN_SUBPROTOCOL)]
    if len(carried) > 1:
        raise InvalidRequestError("there are several tokens among the subprotocols")
    if carried and token is not None:
        raise InvalidRequestError("there is a token in the Authorization header and one among the subprotocols")
    if carried:
        return Credential(check_form(carried[0], "the subprotocol"))
    return Credential(token, in_header=token is not None, in_first_message=token is None and SUBPROTOCOL in offered)


def check_form(token: str, place: str) -> str:
    """The token, if it has the form of one (RFC 6750, section 2.1).

    Raises:
        InvalidRequestError: the token has another form.
    """
    if _TOKEN.fullmatch(token) is None:
        raise InvalidRequestError(f"{place} has no well-formed bearer token")
    return token


def _read_header(value: bytes) -> str | None:
    scheme, _, rest = value.decode("latin-1").strip(" \t").partition(" ")
    if scheme.lower() != "bearer":
        return None
    return check_form(rest.strip(" \t"), "the Authorization header")


def hide_token(scope: Scope) -> None:
    """Remove the token from a WebSocket's scope, so that no app selects or logs the token as a subprotocol."""
    # In place: a copy would hide from the layers further out which route has served the WebSocket.
    scope["subprotocols"] = [name for name in scope.get("subprotocols") or () if not name.startswith(TOKEN_SUBPROTOCOL)]
    scope["headers"] = [
        (name, _drop_token(value) if name == b"sec-websocket-protocol" else value) for name, value in scope["headers"]
    ]


def _drop_token(value: bytes) -> bytes:
    names: Iterable[bytes] = (name.strip() for name in value.split(b","))
    return b", ".join(name for name in names if not name.startswith(TOKEN_SUBPROTOCOL.encode("ascii")))
