"""`ChainKeys`: the keys of the hashes, by id. Without a key hashes find accidents only. Pure."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from pydantic import SecretStr

NO_KEY = ""
"""The key id of a hash without a key."""


class ChainKeys:
    """The keys of the chain: the first one makes new hashes, all of them verify.

    HMAC with SHA-256 (RFC 2104). Everybody who has a key can make hashes: only the application and
    the verifier may have one, and the database must not.
    """

    __slots__ = ("_current", "_keys")

    def __init__(self, keys: Mapping[str, SecretStr] | None = None) -> None:
        self._keys = {name: secret.get_secret_value().encode() for name, secret in (keys or {}).items()}
        self._current = next(iter(self._keys), NO_KEY)

    def __repr__(self) -> str:
        return f"<ChainKeys {', '.join(self._keys) or 'none'}>"

    def __bool__(self) -> bool:
        return bool(self._keys)

    @property
    def current(self) -> str:
        """The id of the key for new hashes; `NO_KEY` if there is none."""
        return self._current

    def knows(self, key_id: str) -> bool:
        """Whether a hash with this key id can be verified."""
        return key_id == NO_KEY or key_id in self._keys

    def hash(self, message: bytes, key_id: str) -> str:
        """The hash of a message, in hexadecimal.

        Raises:
            KeyError: there is no key of this id.
        """
        if key_id == NO_KEY:
            return hashlib.sha256(message).hexdigest()
        return hmac.new(self._keys[key_id], message, "sha256").hexdigest()

    def confirms(self, message: bytes, key_id: str, claimed: str) -> bool:
        """Whether a claimed hash is that of the message. Compared in constant time.

        Raises:
            KeyError: there is no key of this id.
        """
        return hmac.compare_digest(self.hash(message, key_id).encode(), claimed.encode("utf-8", "replace"))
