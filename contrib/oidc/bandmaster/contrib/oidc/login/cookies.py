"""Read the cookies of a request, and write those of the login. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import Scope

MOST_BYTES = 4096
"""The most bytes that every browser keeps of a cookie, name and attributes included (RFC 6265, section 6.1)."""

# No others: Python would strip the bytes 0x85 and 0xA0 as well, which browsers keep. A sibling host could set a cookie
# whose name has one of them in front of __Host-, and so give visitors a session of another user.
_BLANKS = " \t"


@dataclass(frozen=True, slots=True)
class CookieWriter:
    """Writes cookies that belong to this host alone.

    By HTTPS each is a ``__Host-`` cookie, which no other host and no plain-HTTP page can set. Browsers refuse such a
    cookie on plain HTTP, so on a developer's machine a cookie has neither the prefix nor ``Secure``.
    """

    is_secure: bool

    def name(self, name: str) -> str:
        """The full name of a cookie."""
        return f"__Host-{name}" if self.is_secure else name

    def set(self, name: str, value: str, max_age: float) -> str:
        """A ``Set-Cookie`` header for a cookie that lasts ``max_age`` seconds."""
        return f"{self.name(name)}={value}; Path=/; Max-Age={max(0, int(max_age))}{self._attributes}"

    def clear(self, name: str) -> str:
        """A ``Set-Cookie`` header that removes a cookie."""
        return f"{self.name(name)}=; Path=/; Max-Age=0{self._attributes}"

    @property
    def _attributes(self) -> str:
        return "; HttpOnly; SameSite=Lax" + ("; Secure" if self.is_secure else "")


def read_cookies(scope: Scope) -> Mapping[str, str]:
    """The cookies of a request, by name.

    Of several of one name the first counts: browsers send the one with the longest path first (RFC 6265, 5.4).
    """
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        if name != b"cookie":  # HTTP/2 allows several such headers (RFC 9113, 8.2.3)
            continue
        for pair in value.decode("latin-1").split(";"):
            key, sign, text = pair.strip(_BLANKS).partition("=")
            if sign:
                found.setdefault(key, text.strip(_BLANKS))
    return found


def read_cookie(scope: Scope, name: str) -> str | None:
    """One cookie of a request; None if there is none of that name."""
    wanted = name.encode("latin-1")
    # Nearly every request of a program has no cookies at all.
    if not any(header == b"cookie" and wanted in value for header, value in scope["headers"]):
        return None
    return read_cookies(scope).get(name)
