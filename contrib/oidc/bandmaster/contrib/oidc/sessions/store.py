"""The fields of a login session, and the interface of the stores that keep sessions."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol


def new_session_id() -> str:
    """A new id of a session: 256 random bits, as 43 characters that a cookie may hold."""
    return secrets.token_urlsafe(32)


def hash_id(session_id: str) -> str:
    """The SHA-256 of an id, in hexadecimal. Stores, logs and principals hold the hash rather than the id."""
    return hashlib.sha256(session_id.encode(errors="surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One user's login in one browser. All times are in seconds since the epoch.

    Tokens and ids aren't in the text of a session.

    Raises:
        ValueError: the id, the provider, the subject or the issuer is blank.
    """

    provider: str
    """The name of the provider in the settings."""
    issuer: str
    """The issuer that vouches for the subject."""
    subject: str
    """The ``sub`` claim of the ID token."""
    expires_at: float
    """When the session ends, also if the tokens last longer."""
    created_at: float
    """When the user logged in."""
    id: str = field(default_factory=new_session_id, repr=False)
    """The secret by which the browser names the session, opaque, 256 bits."""
    csrf_token: str = field(default_factory=new_session_id, repr=False)
    """The token that requests which change something carry beside the cookie."""
    sid: str | None = None
    """The ``sid`` claim: the session at the provider (OpenID Connect Front-Channel Logout, section 3)."""
    scopes: frozenset[str] = frozenset()
    """The scopes that the login asked for and the provider granted."""
    claims: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    """The claims about the user, as JSON."""
    access_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    id_token: str | None = field(default=None, repr=False)
    access_expires_at: float | None = None
    """When the access token expires; None: unknown."""

    def __post_init__(self) -> None:
        for name in ("id", "provider", "issuer", "subject"):
            value: object = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise ValueError(f"{name}: expected a text that isn't blank")
        object.__setattr__(self, "scopes", frozenset(self.scopes))
        object.__setattr__(self, "claims", MappingProxyType(dict(self.claims)))

    def __repr__(self) -> str:
        return f"<Session {hash_id(self.id)[:12]} of {self.subject!r} at {self.provider!r}>"


class SessionStore(Protocol):
    """Keeps login sessions. The component ``session_store`` provides the one that ``AUTH_SESSION_STORE`` names.

    A *handle* is the text that the browser's cookie holds. Stores on the server make handles of ids; the cookie store
    makes a handle of the whole session, encrypted. A caller sends the result of `put` or `replace` to the browser, and
    passes the browser's handle to `get`.

    Each method raises `AuthUnavailableError` if the store can't be reached: the session may exist, so nobody is logged
    out then.
    """

    @property
    def is_server_side(self) -> bool:
        """Whether the store can end sessions, and may hold refresh tokens."""
        ...

    async def get(self, handle: str) -> Session | None:
        """The session; None if the store holds none, or a session that has expired, or the handle isn't one."""
        ...

    async def put(self, session: Session) -> str:
        """Store a session, and return the handle.

        Raises:
            SessionTooLargeError: the session doesn't fit into a cookie (cookie store only).
        """
        ...

    async def replace(self, handle: str, session: Session) -> str | None:
        """Store a session in place of another one, in one step, and return the handle.

        The new session may have the same id (new tokens after a refresh), or a new one, as after a login. If the old
        session doesn't exist any more, because somebody has logged out meanwhile, nothing is stored and the result is
        None.

        Raises:
            SessionTooLargeError: the session doesn't fit into a cookie (cookie store only).
        """
        ...

    async def delete(self, handle: str) -> bool:
        """End a session. Returns whether the store held one."""
        ...

    async def delete_by(self, issuer: str, *, sid: str | None = None, subject: str | None = None) -> int:
        """End every session of an issuer that has this ``sid``, this subject, or both if both are given.

        Returns how many sessions have ended (OpenID Connect Back-Channel Logout, section 2.7).

        Raises:
            ValueError: neither is given.
        """
        ...

    def lock(self, session_id: str) -> AbstractAsyncContextManager[None]:
        """Hold the session's lock until the block ends, so that one caller of all processes works on the session.

        The lease of a lock is renewed while the block runs, however long that takes, and ends soon after the death of
        the process. Other callers wait. Read the session again in the block: the caller before may have changed it.

        Raises:
            AuthUnavailableError: others hold the lock for longer than ``AUTH_SESSION_LOCK_WAIT`` seconds.
        """
        ...


def check_logout(sid: str | None, subject: str | None) -> None:
    """Check the arguments of `SessionStore.delete_by`.

    Raises:
        ValueError: neither is given.
    """
    if sid is None and subject is None:
        raise ValueError("sid, subject: expected at least one of them")
