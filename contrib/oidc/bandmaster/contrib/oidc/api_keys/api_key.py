"""`ApiKey`: the record of an API key, with the hash and without the key."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import SecretStr

from bandmaster.contrib.oidc.api_keys.key_text import ALPHABET, ID_LENGTH

MAX_OWNER = 255
"""Characters of an owner."""
MAX_NAME = 200
"""Characters of a name."""
# RFC 6749, 3.3: visible ASCII characters apart from the quote and the backslash.
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


class KeyState(StrEnum):
    """Whether a key is accepted, and if not, why."""

    USABLE = "usable"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The record of an API key in a store: the id and the hash, but not the key. Times are in seconds since the epoch.

    Raises:
        ValueError: a field is out of range; the message names the field.
    """

    id: str
    """13 letters and digits, which stand after the prefix of the key. No secret."""
    owner: str
    """Whose key this is: the subject of the principal."""
    hash: str = field(repr=False)
    """The hash of the key, as a `KeyHasher` made it."""
    created_at: float
    name: str = ""
    """A text by which people recognise the key."""
    scopes: frozenset[str] = frozenset()
    """The scopes of the principal."""
    expires_at: float | None = None
    """The key is refused at and after this time; None: never."""
    revoked_at: float | None = None
    """When the key was revoked; None: not revoked. A revoked key is refused at any time."""
    replaced_by: str | None = None
    """The id of the key that a rotation made in place of this one."""
    last_used_at: float | None = None
    """When the key was used, to within the setting ``last_used_interval``; None: never yet."""

    def __post_init__(self) -> None:
        check_id(self.id, "id")
        if not isinstance(self.owner, str) or not self.owner.strip() or len(self.owner) > MAX_OWNER:
            raise ValueError(f"owner: expected 1 to {MAX_OWNER} characters that aren't all blank")
        if not isinstance(self.name, str) or len(self.name) > MAX_NAME:
            raise ValueError(f"name: expected at most {MAX_NAME} characters")
        if "\0" in self.owner or "\0" in self.name:
            raise ValueError("owner, name: expected texts without NUL")
        if isinstance(self.scopes, str):
            raise ValueError("scopes: expected several names, got one text")
        object.__setattr__(self, "scopes", frozenset(self.scopes))
        for scope in self.scopes:
            if not _SCOPE.fullmatch(scope):
                raise ValueError(f"scopes: expected visible ASCII characters without blanks (RFC 6749), got {scope!r}")
        for label in ("created_at", "expires_at", "revoked_at", "last_used_at"):
            value = getattr(self, label)
            if value is not None and not math.isfinite(value):
                raise ValueError(f"{label}: expected seconds since the epoch, got {value!r}")

    def get_state(self, now: float) -> KeyState:
        """Whether the key is accepted at a time, in seconds since the epoch."""
        if self.revoked_at is not None:
            return KeyState.REVOKED
        if self.expires_at is not None and now >= self.expires_at:
            return KeyState.EXPIRED
        return KeyState.USABLE

    @property
    def hashed_with(self) -> str:
        """How the hash was made: the name of the algorithm and the id of the pepper, ``hmac-sha256$2026``."""
        return describe_hash(self.hash)


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key that was just made. Nothing can show the key a second time: stores keep the hash only."""

    key: SecretStr
    """The key, for its owner."""
    record: ApiKey
    """The record in the store."""


def describe_hash(stored: str) -> str:
    """The part of a stored hash in front of the second ``$``: the algorithm and the pepper."""
    return "$".join(stored.split("$", 2)[:2])


def read_pepper(stored: str) -> str:
    """The id of the pepper that a stored hash was made with."""
    return describe_hash(stored).partition("$")[2]


def check_id(key_id: str, label: str) -> None:
    """Check the form of an id.

    Raises:
        ValueError: the id is of another form. The message doesn't repeat the text, which may be a whole key.
    """
    if not isinstance(key_id, str) or len(key_id) != ID_LENGTH or not set(key_id) <= set(ALPHABET):
        raise ValueError(f"{label}: expected the id of a key, which has {ID_LENGTH} letters and digits")
