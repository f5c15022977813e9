"""The names of signature algorithms: which are known, and which mean the same. Pure."""

from __future__ import annotations

from collections.abc import Iterable

KNOWN = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
    "Ed448",
)
"""The algorithms that settings may allow. All are asymmetric: with a shared secret every verifier could sign."""

# Messages about settings don't repeat the values of the settings.
_KINDS = "RS, PS or ES with 256, 384 or 512, as in RS256; EdDSA, Ed25519 or Ed448"
_ED25519 = frozenset({"EdDSA", "Ed25519"})
"""Both names of one algorithm. ``EdDSA`` is the older one, and says less (RFC 9864, section 2.2)."""


def check_algorithms(names: tuple[str, ...]) -> tuple[str, ...]:
    """Check names of algorithms that are to be accepted.

    Raises:
        ValueError: there is none, or one isn't known.
    """
    if not names:
        raise ValueError(f"expected at least one of {_KINDS}")
    for name in names:
        if name.startswith("HS"):
            raise ValueError(f"a symmetric algorithm isn't accepted: who can verify could sign. Expected {_KINDS}")
        if name not in KNOWN:
            raise ValueError(f"not a known algorithm; expected {_KINDS}")
    return names


def expand_algorithms(names: Iterable[str]) -> frozenset[str]:
    """The names by which tokens may name the algorithms: ``EdDSA`` and ``Ed25519`` admit each other.

    >>> sorted(expand_algorithms(["ES256", "Ed25519"]))
    ['ES256', 'Ed25519', 'EdDSA']
    """
    given = frozenset(names)
    return given | _ED25519 if given & _ED25519 else given
