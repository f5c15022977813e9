"""A cookie jar that keeps nothing."""

from __future__ import annotations

from http.cookiejar import Cookie, CookieJar
from typing import Any

_REASON = (
    "cookies: a client that all requests of the application share keeps no cookies, which would go out with the calls "
    "of other users; send one with its call: headers={'cookie': 'name=value'}"
)


class NoCookies(CookieJar):
    """Stores no cookie from any answer, and refuses those of callers."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Ignore the cookies of an answer. ``response.cookies`` still has them."""

    def set_cookie(self, cookie: Cookie) -> None:
        """Refuse a cookie.

        Raises:
            ValueError: always.
        """
        raise ValueError(_REASON)


def refuse_cookies() -> None:
    """Refuse another jar.

    Raises:
        ValueError: always.
    """
    raise ValueError(_REASON)
