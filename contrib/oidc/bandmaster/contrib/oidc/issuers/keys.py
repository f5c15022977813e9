"""The signing keys of a provider: imported one by one, each with fitting algorithms. Pure.

The library is imported with the first key: applications without a provider need no cryptography.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bandmaster.contrib.oidc.errors import ProviderRefusedError
from bandmaster.contrib.oidc.provider_fields import TENANT

if TYPE_CHECKING:
    from joserfc.jwk import Key

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_ALGORITHMS: Mapping[tuple[str, object], tuple[str, ...]] = {
    ("RSA", None): _RSA,
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA", "Ed25519"),
    ("OKP", "Ed448"): ("Ed448",),
}
"""The algorithms of each kind of key. An RSA key fits several; all others fit one, under one or two names."""
_MATERIAL = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")

_SMALLEST_RSA = 2048
"""Bits (NIST SP 800-131A; RFC 7518, section 3.3)."""
_LARGEST_RSA = 8192
"""Bits. Verification takes longer with each, and nobody needs more."""
_LARGEST_EXPONENT = 32
"""Bits. A large exponent makes each verification expensive."""
_LONGEST_ID = 512
_MOST_UNNAMED = 8
"""Keys without an id that a token without an id is tried against."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key, with the algorithms that the key may verify. Both are fixed when the key is imported."""

    kid: str | None
    algorithms: Mapping[str, Any]
    """The library's algorithm, by the names that stand in tokens."""
    key: Key = field(repr=False)
    issuer: str | None = None
    """The issuer that the provider restricts the key to, as Microsoft Entra does; with {tenantid} for all tenants."""

    def verify(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether the signature is this key's. ``algorithm`` is one of `algorithms`."""
        try:
            return bool(self.algorithms[algorithm].verify(signed, signature, self.key))
        except Exception as error:
            from joserfc.errors import JoseError

            if isinstance(error, JoseError | ValueError):
                return False
            raise

    def serves(self, tenant: str | None) -> bool:
        """Whether the provider lets this key sign tokens of a tenant."""
        if tenant is None or self.issuer is None or TENANT in self.issuer:
            return True
        return tenant in self.issuer.split("/")


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys of a provider."""

    named: Mapping[str, tuple[VerificationKey, ...]]
    """The keys by their ids. Keys of several kinds may share an id (RFC 7517, section 4.5)."""
    unnamed: tuple[VerificationKey, ...] = ()
    left_out: tuple[str, ...] = ()
    """Why other keys of the document aren't used, for the log."""

    def find(self, kid: str | None, algorithm: str) -> tuple[VerificationKey, ...] | None:
        """The keys that may have signed a token; None if no key has the id, so that a newer set may have it."""
        if kid is not None:
            named = self.named.get(kid)
            return None if named is None else tuple(key for key in named if algorithm in key.algorithms)
        keys = [*self.unnamed, *(key for keys in self.named.values() for key in keys)]
        return tuple(key for key in keys if algorithm in key.algorithms)[:_MOST_UNNAMED]

    def __len__(self) -> int:
        return len(self.unnamed) + sum(map(len, self.named.values()))


def import_keys(document: Mapping[str, Any], allowed: frozenset[str], *, source: str, max_keys: int = 100) -> KeySet:
    """The usable keys of a key set (RFC 7517, section 5). A key that can't be used is left out, and spoils no other.

    ``allowed`` are the algorithms that tokens may have. ``source`` is the address of the document, for messages.

    Raises:
        ProviderRefusedError: the document isn't a key set, or has no usable key.
    """
    keys = document.get("keys")
    if not isinstance(keys, list):
        raise ProviderRefusedError(f"the document at {source} has no list of keys")
    named: defaultdict[str, list[VerificationKey]] = defaultdict(list)
    unnamed: list[VerificationKey] = []
    left_out = [f"{len(keys) - max_keys} keys are beyond max_keys"] if len(keys) > max_keys else []
    for number, member in enumerate(keys[:max_keys], 1):
        try:
            key = _import_key(member, allowed)
            if key.kid is None:
                unnamed.append(key)
                continue
            if any(key.algorithms.keys() & other.algorithms.keys() for other in named[key.kid]):
                raise _UnusableKeyError("another key has the same id")
            named[key.kid].append(key)
        except _UnusableKeyError as error:
            left_out.append(f"key {number}: {error}")
    found = KeySet(MappingProxyType({kid: tuple(keys) for kid, keys in named.items()}), tuple(unnamed), tuple(left_out))
    if not len(found):
        reasons = "; ".join(left_out[:10]) or "the list is empty"
        raise ProviderRefusedError(
            f"the document at {source} has no key for {', '.join(sorted(allowed))}: {reasons}. Is algorithms right?"
        )
    return found


class _UnusableKeyError(Exception):
    """A key that can't be used, and why."""


def _import_key(member: object, allowed: frozenset[str]) -> VerificationKey:
    if not isinstance(member, dict):
        raise _UnusableKeyError("isn't an object")
    _check_purpose(member)
    kid, issuer = member.get("kid"), member.get("issuer")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= _LONGEST_ID):
        raise _UnusableKeyError("has an id that isn't a short text")
    names = _choose_algorithms(member)
    if not allowed.intersection(names):
        raise _UnusableKeyError(f"is for {' or '.join(names)}, which the settings don't allow")
    key = _import_material(member)
    models = {name: _find_model(name, key) for name in names if name in allowed}
    return VerificationKey(kid, MappingProxyType(models), key, issuer if isinstance(issuer, str) else None)


def _check_purpose(member: Mapping[str, Any]) -> None:
    if any(name in member for name in _PRIVATE):
        raise _UnusableKeyError("is a secret or a private key")
    if member.get("use", "sig") != "sig":
        raise _UnusableKeyError("isn't for signatures (use)")
    operations = member.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise _UnusableKeyError("isn't for verification (key_ops)")


def _choose_algorithms(member: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the algorithms that a key may verify: its kind's, and of those the one that it names."""
    kind, curve = member.get("kty"), member.get("crv")
    if not isinstance(kind, str) or not isinstance(curve, str | None):
        raise _UnusableKeyError("has no kind (kty)")
    names = _ALGORITHMS.get((kind, None if kind == "RSA" else curve))
    if names is None:
        raise _UnusableKeyError(f"has the kind {kind[:20]!r}{f' with {curve[:20]!r}' if curve else ''}")
    named = member.get("alg")
    if named is None:
        return names
    if named not in names:
        raise _UnusableKeyError("names an algorithm (alg) that doesn't fit its kind")
    return (named,) if kind == "RSA" else names


def _import_material(member: Mapping[str, Any]) -> Key:
    from joserfc.jwk import JWKRegistry

    kind: str = member["kty"]
    material = {name: member.get(name) for name in _MATERIAL[kind]}
    for name, value in material.items():
        if not isinstance(value, str) or len(value) > _LARGEST_RSA // 5:
            raise _UnusableKeyError(f"has no {name}, or a malformed one")
    try:
        with_kind: dict[str, Any] = {"kty": kind, **material}
        if kind == "RSA":
            _check_rsa(with_kind)
        key = JWKRegistry.import_key(with_kind)
    except _UnusableKeyError:
        raise
    except Exception as error:  # noqa: BLE001  # the library and OpenSSL raise whatever a malformed key makes them
        raise _UnusableKeyError(f"can't be imported ({type(error).__name__})") from None
    return key


def _check_rsa(material: Mapping[str, str]) -> None:
    from joserfc.util import urlsafe_b64decode

    # Before the import, where the library warns of a small key.
    n, e = (int.from_bytes(urlsafe_b64decode(material[name].encode())) for name in ("n", "e"))
    if e.bit_length() > _LARGEST_EXPONENT:
        raise _UnusableKeyError("has a large exponent")
    if n % 2 == 0 or not _SMALLEST_RSA <= n.bit_length() <= _LARGEST_RSA:
        raise _UnusableKeyError(
            f"has {n.bit_length()} bits, or an even modulus; odd ones of {_SMALLEST_RSA} to {_LARGEST_RSA} are accepted"
        )


def _find_model(name: str, key: Key) -> Any:
    from joserfc.errors import JoseError
    from joserfc.jws import JWSRegistry

    # The library warns of the older name at each use.
    model = JWSRegistry.algorithms["Ed25519" if name == "EdDSA" else name]
    try:
        model.check_key(key)
    except JoseError as error:
        raise _UnusableKeyError(f"can't be used ({type(error).__name__})") from None
    return model
