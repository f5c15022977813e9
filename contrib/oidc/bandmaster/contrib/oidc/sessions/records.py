"""The encrypted record of a session, which stores outside of the process and cookies hold."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from bandmaster.contrib.oidc.sessions.cipher import Cipher, UndecipherableError
from bandmaster.contrib.oidc.sessions.store import Session
from bandmaster.kernel import get_logger

PURPOSE = "session store"
"""The purpose of the `Cipher` of stores."""
_VERSION = 1
_NAMES = frozenset(field.name for field in fields(Session))


def dump_session(session: Session) -> bytes:
    """A session as JSON.

    Raises:
        TypeError, ValueError: JSON can't express a claim.
    """
    values: dict[str, Any] = {name: getattr(session, name) for name in _NAMES}
    values["scopes"] = sorted(session.scopes)
    values["claims"] = dict(session.claims)
    known = {name: value for name, value in sorted(values.items()) if value is not None}
    text = json.dumps({"v": _VERSION, **known}, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    # A claim may hold half of a surrogate pair, as JSON can. `json.loads` decodes it likewise.
    return text.encode(errors="surrogatepass")


def load_session(data: bytes) -> Session:
    """The session of `dump_session`.

    Raises:
        ValueError: the data is something else, or from another version of this package.
    """
    try:
        values = json.loads(data)
        if values.pop("v") != _VERSION or not values.keys() <= _NAMES:
            raise ValueError("it is from another version")
        return Session(**values)
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"it is no session: {type(error).__name__}") from error


class Records:
    """Encrypts sessions, and decrypts those that haven't expired.

    A record that can't be decrypted is no session: the key was removed, or the record was changed, or belongs to
    another id.
    """

    def __init__(self, cipher: Cipher, clock: Callable[[], float] = time.time) -> None:
        self._cipher = cipher
        self._clock = clock
        self._has_warned = False

    def write(self, session: Session, place: str) -> str:
        """The record of a session. Under another ``place`` than this one the record can't be decrypted."""
        return self._cipher.encrypt(dump_session(session), place)

    def read(self, record: str, place: str, *, trusted: bool = True) -> Session | None:
        """The session of a record; None for one that has expired, or can't be decrypted.

        ``trusted`` says whether the record is from a store, which only this application writes, so that one that can't
        be decrypted is worth a warning.
        """
        try:
            session = load_session(self._cipher.decrypt(record, place))
        except ValueError as error:
            if trusted and not self._has_warned:
                self._has_warned = True
                reason = str(error) if isinstance(error, UndecipherableError) else "it is from another version"
                get_logger("bandmaster.oidc").warning(
                    "a stored session can't be read, and its user has to log in again; further ones aren't logged",
                    reason=reason,
                    hint="is the key that encrypted it still in AUTH_SESSION_KEYS?",
                )
            return None
        return session if session.expires_at > self._clock() else None


def hash_index(issuer: str, value: str) -> str:
    """The SHA-256 by which stores find the sessions of a subject or a ``sid`` of an issuer."""
    return hashlib.sha256(json.dumps([issuer, value]).encode()).hexdigest()


def without_refresh_token(session: Session) -> Session:
    """The session without the field that a cookie must not hold."""
    return session if session.refresh_token is None else replace(session, refresh_token=None)
