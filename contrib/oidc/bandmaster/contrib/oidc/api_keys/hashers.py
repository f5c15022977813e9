"""`KeyHasher` and the default: HMAC-SHA256 with a secret, the pepper, that isn't in the store."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Protocol

from pydantic import SecretStr

from bandmaster.contrib.oidc.api_keys.api_key import describe_hash
from bandmaster.contrib.oidc.errors import ApiKeyError

_HMAC = "hmac-sha256"


class KeyHasher(Protocol):
    """Makes and verifies the hashes of keys.

    A stored hash is ``algorithm$pepper$digest``: the hash names the pepper that made it, so that several can be in use.
    """

    async def hash(self, key: str) -> str:
        """The hash of a key, for the store.

        Raises:
            AuthUnavailableError: too many hashes are being computed.
        """
        ...

    async def verify(self, key: str, stored: str) -> bool:
        """Whether the stored hash is the key's, compared in constant time.

        Raises:
            AuthUnavailableError: too many hashes are being computed.
        """
        ...

    async def verify_nothing(self, key: str) -> None:
        """Take as long as `verify` does, for an id that no key has.

        Raises:
            AuthUnavailableError: too many hashes are being computed.
        """
        ...

    def can_verify(self, stored: str) -> bool:
        """Whether this hasher knows the algorithm and has the pepper of a stored hash."""
        ...

    def is_current(self, stored: str) -> bool:
        """Whether this hasher would make the hash in the same way: algorithm, cost and first pepper."""
        ...


class HmacSha256Hasher:
    """HMAC-SHA256 (RFC 2104) with a pepper. The first pepper makes new hashes, and all of them verify.

    A key has 256 random bits, which nobody can guess, however fast a guess is. So a slow hash would protect nothing,
    and would let anybody keep the processor busy. The pepper protects against those who can write to the store, but
    don't know the pepper: a hash that they insert verifies no key.

    Raises:
        ValueError: there is no pepper.
    """

    def __init__(self, peppers: Mapping[str, SecretStr]) -> None:
        if not peppers:
            raise ValueError("peppers: expected at least one")
        self._peppers = {name: pepper.get_secret_value().encode() for name, pepper in peppers.items()}
        self._first = next(iter(self._peppers))

    def __repr__(self) -> str:
        return f"<HmacSha256Hasher with the peppers {', '.join(self._peppers)}>"

    async def hash(self, key: str) -> str:
        """See `KeyHasher.hash`."""
        return f"{_HMAC}${self._first}${self.digest(key, self._first)}"

    async def verify(self, key: str, stored: str) -> bool:
        """See `KeyHasher.verify`."""
        algorithm, pepper, digest = split_hash(stored)
        if algorithm != _HMAC or pepper not in self._peppers:
            return False
        return hmac.compare_digest(self.digest(key, pepper), digest)

    async def verify_nothing(self, key: str) -> None:
        """See `KeyHasher.verify_nothing`."""
        hmac.compare_digest(self.digest(key, self._first), "0" * 64)

    def can_verify(self, stored: str) -> bool:
        """See `KeyHasher.can_verify`."""
        algorithm, pepper, _ = split_hash(stored)
        return algorithm == _HMAC and pepper in self._peppers

    def is_current(self, stored: str) -> bool:
        """See `KeyHasher.is_current`."""
        return stored.startswith(f"{_HMAC}${self._first}$")

    def digest(self, key: str, pepper: str) -> str:
        """The HMAC of a key with the pepper of this id, in hexadecimal."""
        return hmac.digest(self._peppers[pepper], key.encode(), "sha256").hex()

    @property
    def peppers(self) -> tuple[str, ...]:
        """The ids of the peppers; the first makes new hashes."""
        return tuple(self._peppers)


class KeyHashers:
    """Several hashers as one: the first makes new hashes, and each verifies its own.

    Stores that change from one hasher to another have hashes of both for a while.
    """

    def __init__(self, current: KeyHasher, *others: KeyHasher) -> None:
        self._current = current
        self._others = others

    async def hash(self, key: str) -> str:
        """See `KeyHasher.hash`."""
        return await self._current.hash(key)

    async def verify(self, key: str, stored: str) -> bool:
        """See `KeyHasher.verify`."""
        # Nearly every key holds, and the first hasher made its hash: ask that one without a question before.
        if await self._current.verify(key, stored):
            return True
        if self._current.can_verify(stored):
            return False
        for hasher in self._others:
            if hasher.can_verify(stored):
                return await hasher.verify(key, stored)
        return False

    async def verify_nothing(self, key: str) -> None:
        """See `KeyHasher.verify_nothing`."""
        await self._current.verify_nothing(key)

    def can_verify(self, stored: str) -> bool:
        """See `KeyHasher.can_verify`."""
        return any(hasher.can_verify(stored) for hasher in (self._current, *self._others))

    def is_current(self, stored: str) -> bool:
        """See `KeyHasher.is_current`."""
        return self._current.is_current(stored)


class NoHasher:
    """A hasher without peppers, for commands that list and revoke keys. It makes and verifies nothing."""

    async def hash(self, key: str) -> str:
        """Refuse.

        Raises:
            ApiKeyError: always.
        """
        raise ApiKeyError("no pepper is configured, so that no key can be hashed")

    async def verify(self, key: str, stored: str) -> bool:
        """No key belongs to any hash."""
        return False

    async def verify_nothing(self, key: str) -> None:
        """There is nothing to verify."""

    def can_verify(self, stored: str) -> bool:
        """Nothing can be verified."""
        return False

    def is_current(self, stored: str) -> bool:
        """No hash is made in this way."""
        return False


def split_hash(stored: str) -> tuple[str, str, str]:
    """Algorithm, pepper and digest of a stored hash.

    Raises:
        ApiKeyError: the text has another form. The message doesn't repeat the text.
    """
    parts = stored.split("$", 2)
    if len(parts) != 3:
        raise ApiKeyError("a stored hash isn't of the form algorithm$pepper$digest")
    return parts[0], parts[1], parts[2]


def describe_missing(hasher: KeyHasher, stored: str) -> str:
    """Why a hasher can't verify a stored hash, for logs; empty if it can."""
    if hasher.can_verify(stored):
        return ""
    algorithm, _, pepper = describe_hash(stored).partition("$")
    return f"its hash was made by {algorithm} with the pepper {pepper!r}, which isn't configured here"
