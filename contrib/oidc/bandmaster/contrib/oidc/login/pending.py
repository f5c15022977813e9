"""Logins under way, each in a cookie of its own, so that several tabs can log in at once, and finish in any order."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bandmaster.contrib.oidc.login.cookies import CookieWriter
from bandmaster.contrib.oidc.login.settings import LoginSettings

if TYPE_CHECKING:
    from bandmaster.contrib.oidc.sessions.cipher import Cipher  # which imports cryptography

PURPOSE = "login cookie"
"""The purpose of the cipher that encrypts these cookies."""

_PREFIX = "login-"
_MOST_BYTES = 4096
"""The most bytes of all these cookies of a browser, unless one alone has more: nginx and others refuse requests with
8 KiB of cookies, and so with a few logins that lead back to long addresses."""


class _Other(NamedTuple):
    name: str
    """The name of the cookie, without a prefix."""
    began_at: float
    size: int
    """The bytes of the cookie's value."""


@dataclass(frozen=True, slots=True)
class PendingLogin:
    """One login that a browser has begun: the secrets that the provider's answer must fit."""

    provider: str
    return_to: str
    """The path to which the browser goes after the login."""
    began_at: float
    """Seconds since the epoch."""
    state: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    code_verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @property
    def code_challenge(self) -> str:
        """The SHA-256 of the verifier, base64url (RFC 7636, section 4.2: S256)."""
        digest = hashlib.sha256(self.code_verifier.encode("ascii")).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


class PendingLogins:
    """Keeps logins under way in the browser that began them, encrypted.

    A login can be finished only by the browser that has the cookie, so nobody can finish a login in another person's
    browser (RFC 6749, section 10.12). The server keeps nothing, so that nobody can fill the memory with logins.
    """

    def __init__(
        self, cipher: Cipher, cookies: CookieWriter, settings: LoginSettings, clock: Callable[[], float] = time.time
    ) -> None:
        self._cipher = cipher
        self._cookies = cookies
        self._settings = settings
        self._clock = clock

    def begin(self, provider: str, return_to: str, sent: Mapping[str, str]) -> tuple[PendingLogin, list[str]]:
        """Begin a login. Returns the login and the ``Set-Cookie`` headers; the oldest logins make room.

        ``sent`` are the cookies of the request.
        """
        login = PendingLogin(provider, return_to, self._clock())
        name = _name_cookie(login.state)
        value = self._cipher.encrypt(json.dumps(asdict(login)).encode(), name)
        others = sorted(self._list_others(sent), key=lambda other: other.began_at, reverse=True)
        total, dropped = len(value), []
        for number, other in enumerate(others, start=1):
            total += other.size
            if number >= self._settings.pending_logins or total > _MOST_BYTES:
                dropped.append(other.name)
        return login, [
            self._cookies.set(name, value, self._settings.login_timeout),
            *map(self._cookies.clear, dropped),
        ]

    def find(self, state: str, sent: Mapping[str, str]) -> PendingLogin | None:
        """The login of this browser with that state; None if there is none, or if the user has taken too long."""
        name = _name_cookie(state)
        login = self._read(name, sent.get(self._cookies.name(name), ""))
        return login if login is not None and hmac.compare_digest(login.state, state) else None

    def forget(self, state: str) -> str:
        """A ``Set-Cookie`` header that removes the login with that state."""
        return self._cookies.clear(_name_cookie(state))

    def expires_at(self, login: PendingLogin) -> float:
        """When a login has taken too long."""
        return login.began_at + self._settings.login_timeout

    def _list_others(self, sent: Mapping[str, str]) -> list[_Other]:
        """The logins that the browser has begun."""
        prefix = self._cookies.name(_PREFIX)
        found: list[_Other] = []
        for full_name, value in sent.items():
            if full_name.startswith(prefix):
                name = _PREFIX + full_name.removeprefix(prefix)
                login = self._read(name, value)
                found.append(_Other(name, 0 if login is None else login.began_at, len(value)))
        return found

    def _read(self, name: str, value: str) -> PendingLogin | None:
        try:
            login = PendingLogin(**json.loads(self._cipher.decrypt(value, name)))
        except (ValueError, TypeError):  # of another key, of another version, or changed
            return None
        return login if self._clock() < self.expires_at(login) else None


def _name_cookie(state: str) -> str:
    return _PREFIX + hashlib.sha256(state.encode()).hexdigest()[:16]
