"""Offer a login where a request is refused for want of one: by a redirect, or by the login's address in the problem."""

from __future__ import annotations

import json
from urllib.parse import quote

from starlette.types import Message, Scope, Send

from bandmaster.contrib.oidc.login.addresses import Addresses
from bandmaster.contrib.oidc.login.navigation import find_path, is_navigation

_UNAUTHORIZED = 401
_PROBLEM = b"application/problem+json"
_MOST_BYTES = 64 * 1024
_PATH_CHARACTERS = "/:@!$&'()*+,;=~"


class LoginOffer:
    """The ``send`` that an application gets, which turns a 401 into an offer to log in.

    A top-level navigation is redirected to the login, which leads back to the page. Every other request gets the 401
    that the application has sent; a problem (RFC 9457) gets the member ``login``. The answer to a request with an
    ``Authorization`` header is left alone: that client uses another kind of credential.
    """

    __slots__ = ("_addresses", "_body", "_held", "_is_redirected", "_scope", "_send")

    def __init__(self, scope: Scope, send: Send, addresses: Addresses) -> None:
        self._scope = scope
        self._send = send
        self._addresses = addresses
        self._is_redirected = False
        self._held: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        """Send one message of the response."""
        if message["type"] == "http.response.start" and message["status"] == _UNAUTHORIZED:
            await self._begin(message)
        elif self._is_redirected:
            return
        elif self._held is not None and message["type"] == "http.response.body":
            await self._continue(self._held, message)
        else:
            await self._send(message)

    async def _begin(self, message: Message) -> None:
        if any(name == b"authorization" for name, _ in self._scope["headers"]):
            await self._send(message)
        elif is_navigation(self._scope):
            self._is_redirected = True
            await self._redirect(message)
        elif _is_problem(message) and self._scope["method"] != "HEAD":
            self._held = message
        else:
            await self._send(message)

    async def _redirect(self, message: Message) -> None:
        query: bytes = self._scope.get("query_string", b"")
        path = quote(find_path(self._scope), safe=_PATH_CHARACTERS)
        target = self._addresses.below(path) + (f"?{query.decode('latin-1')}" if query else "")
        location = self._addresses.login_path(return_to=target)
        # What other layers have added stays, such as the request id; what described the old body goes.
        kept = [
            (name, value)
            for name, value in message.get("headers", ())
            if name.lower() not in (b"content-type", b"content-length", b"www-authenticate", b"cache-control")
        ]
        headers = [
            *kept,
            (b"location", location.encode("ascii", "replace")),
            (b"cache-control", b"no-store"),
            (b"content-length", b"0"),
        ]
        await self._send({"type": "http.response.start", "status": 303, "headers": headers})
        await self._send({"type": "http.response.body", "body": b""})

    async def _continue(self, start: Message, message: Message) -> None:
        self._body += message.get("body", b"")
        is_over = not message.get("more_body", False)
        if not is_over and len(self._body) <= _MOST_BYTES:
            return
        self._held = None
        body = self._add_login(self._body) if is_over else self._body
        headers = [(name, value) for name, value in start.get("headers", ()) if name.lower() != b"content-length"]
        if is_over:
            headers.append((b"content-length", b"%d" % len(body)))
        await self._send({**start, "headers": headers})
        await self._send({**message, "body": body})

    def _add_login(self, body: bytes) -> bytes:
        try:
            members: object = json.loads(body)
        except ValueError:
            return body
        if not isinstance(members, dict) or "login" in members:
            return body
        return json.dumps({**members, "login": self._addresses.login}).encode("ascii")


def _is_problem(message: Message) -> bool:
    types = [value for name, value in message.get("headers", ()) if name.lower() == b"content-type"]
    return any(value.partition(b";")[0].strip().lower() == _PROBLEM for value in types)
