"""Requests and responses of the provider for development, as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

_NO_STORE = {"cache-control": "no-store", "referrer-policy": "no-referrer", "x-content-type-options": "nosniff"}
_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"


class OAuthError(Exception):
    """A request is refused with an error code (RFC 6749, sections 4.1.2.1 and 5.2)."""

    def __init__(self, code: str, description: str, *, status: int = 400) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request."""

    method: str
    target: str
    """The path and the query."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By lower-case name."""
    body: bytes = field(default=b"", repr=False)

    @property
    def path(self) -> str:
        """The path without the query."""
        return self.target.partition("?")[0]

    def read_query(self) -> dict[str, str]:
        """Read the parameters of the query.

        Raises:
            OAuthError: a parameter comes twice (RFC 6749, section 3.1).
        """
        return _read_parameters(self.target.partition("?")[2])

    def read_form(self) -> dict[str, str]:
        """Read the fields of the body.

        Raises:
            OAuthError: the body is no form, or a field comes twice (RFC 6749, section 3.2).
        """
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if self.body and kind != "application/x-www-form-urlencoded":
            raise OAuthError("invalid_request", "the body must be application/x-www-form-urlencoded")
        return _read_parameters(self.body.decode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


def respond_json(value: Any, status: int = 200, **headers: str) -> Response:
    """A JSON response that nobody stores."""
    kind = {"content-type": "application/json"}
    return Response(status, _NO_STORE | kind | headers, json.dumps(value).encode())


def respond_error(error: OAuthError) -> Response:
    """The response of an endpoint that applications call (RFC 6749, section 5.2)."""
    challenge = {"www-authenticate": f'Bearer error="{error.code}"'} if error.status == 401 else {}
    return respond_json({"error": error.code, "error_description": error.description}, error.status, **challenge)


def respond_page(page: str, status: int = 200) -> Response:
    """A page for a person."""
    kind = {"content-type": "text/html; charset=utf-8", "content-security-policy": _PAGE_POLICY}
    return Response(status, _NO_STORE | kind, page.encode())


def redirect(url: str, parameters: Mapping[str, str]) -> Response:
    """Send the browser to an address, by GET, with parameters added to its query."""
    parts = urlsplit(url)
    query = "&".join(filter(None, [parts.query, urlencode(parameters)]))
    return Response(303, _NO_STORE | {"location": urlunsplit(parts._replace(query=query))})


def _read_parameters(text: str) -> dict[str, str]:
    pairs = [(name, value) for name, value in parse_qsl(text, keep_blank_values=True) if value]
    found = dict(pairs)
    if len(found) < len(pairs):
        raise OAuthError("invalid_request", "a parameter comes twice")
    return found
