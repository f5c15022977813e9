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
        # By the beginning of the hashes that each pepper makes. A copy of a started HMAC costs half of a new one.
        self._macs = {
            f"{_HMAC}${name}": hmac.new(pepper.get_secret_value().encode(), digestmod="sha256")
            for name, pepper in peppers.items()
        }
        self.peppers = tuple(peppers)
        """The ids of the peppers; the first makes new hashes."""
        self._first = f"{_HMAC}${self.peppers[0]}"

    def __repr__(self) -> str:
        return f"<HmacSha256Hasher with the peppers {', '.join(self.peppers)}>"

    async def hash(self, key: str) -> str:
        """See `KeyHasher.hash`."""
        return f"{self._first}${self._digest(key, self._first)}"

    async def verify(self, key: str, stored: str) -> bool:
        """See `KeyHasher.verify`."""
        made_with, _, digest = stored.rpartition("$")
        if made_with not in self._macs:
            return False
        return hmac.compare_digest(self._digest(key, made_with), digest)

    async def verify_nothing(self, key: str) -> None:
        """See `KeyHasher.verify_nothing`."""
        hmac.compare_digest(self._digest(key, self._first), "0" * 64)

    def can_verify(self, stored: str) -> bool:
        """See `KeyHasher.can_verify`."""
        return stored.rpartition("$")[0] in self._macs

    def is_current(self, stored: str) -> bool:
        """See `KeyHasher.is_current`."""
        return stored.rpartition("$")[0] == self._first

    def digest(self, key: str, pepper: str) -> str:
        """The HMAC of a key with the pepper of this id, in hexadecimal."""
        return self._digest(key, f"{_HMAC}${pepper}")

    def _digest(self, key: str, made_with: str) -> str:
        mac = self._macs[made_with].copy()
        mac.update(key.encode())
        return mac.hexdigest()


class KeyHashers:
    """Several hashers as one: the first makes new hashes, and each verifies those that the same hasher has made.

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
    """A hasher without peppers, for commands that list and revoke keys. Every hash is refused."""

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
        """No hash can be verified."""
        return False

    def is_current(self, stored: str) -> bool:
        """No hash is made in this way."""
        return False


def describe_missing(hasher: KeyHasher, stored: str) -> str:
    """Why a hasher can't verify a stored hash, for logs; empty if the hasher can."""
    if hasher.can_verify(stored):
        return ""
    algorithm, _, pepper = describe_hash(stored).partition("$")
    return f"its hash was made by {algorithm} with the pepper {pepper!r}, which isn't configured here"
