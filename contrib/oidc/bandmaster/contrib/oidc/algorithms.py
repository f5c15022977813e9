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

_ED25519 = frozenset({"EdDSA", "Ed25519"})
"""Both names of one algorithm. ``EdDSA`` is the older one, and says less (RFC 9864, section 2.2)."""


def check_algorithms(names: tuple[str, ...]) -> tuple[str, ...]:
    """Check names of algorithms that are to be accepted.

    Raises:
        ValueError: there is none, or one isn't known.
    """
    if not names:
        raise ValueError(f"expected at least one of {', '.join(KNOWN)}")
    for name in names:
        if name not in KNOWN:
            reason = "is symmetric: who can verify could sign" if name.startswith("HS") else "isn't accepted"
            raise ValueError(f"{name!r} {reason}; there are {', '.join(KNOWN)}")
    return names


def expand_algorithms(names: Iterable[str]) -> frozenset[str]:
    """The names by which tokens may name the algorithms: ``EdDSA`` and ``Ed25519`` admit each other.

    >>> sorted(expand_algorithms(["ES256", "Ed25519"]))
    ['ES256', 'Ed25519', 'EdDSA']
    """
    given = frozenset(names)
    return given | _ED25519 if given & _ED25519 else given
