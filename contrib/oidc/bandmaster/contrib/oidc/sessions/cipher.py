"""Encrypt the records of sessions, with several keys by id so that a key can be replaced."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

_NONCE = 12
_TAG = 16


class UndecipherableError(ValueError):
    """A text isn't one that these keys encrypted for this purpose and place."""


class Cipher:
    """AES-256-GCM with several keys: the first one encrypts, each decrypts its own texts.

    The keys that encrypt are derived from those given (HKDF with SHA-256, RFC 5869), separately for each ``purpose``.
    An id of a key has no dot: a dot separates the id from the encrypted text. One key may encrypt 2**32 texts (NIST
    SP 800-38D, section 8.3).

    Raises:
        ValueError: there is no key.
    """

    def __init__(self, keys: Mapping[str, SecretStr], purpose: str) -> None:
        if not keys:
            raise ValueError("keys: expected at least one")
        self._purpose = purpose
        self._keys = {key_id: AESGCM(_derive(key.get_secret_value(), purpose)) for key_id, key in keys.items()}
        self._first = next(iter(self._keys))

    def __repr__(self) -> str:
        return f"<Cipher for {self._purpose} with the keys {', '.join(self._keys)}>"

    def encrypt(self, plain: bytes, place: str) -> str:
        """Encrypt data as a text that a cookie may hold. Only `decrypt` with the same ``place`` accepts the text."""
        nonce = secrets.token_bytes(_NONCE)
        sealed = self._keys[self._first].encrypt(nonce, plain, self._bind(self._first, place))
        return f"{self._first}.{base64.urlsafe_b64encode(nonce + sealed).rstrip(b'=').decode()}"

    def decrypt(self, text: str, place: str) -> bytes:
        """Decrypt a text.

        Raises:
            UndecipherableError: no key with that id is known, or the text was changed, or belongs to another place.
        """
        key_id, _, encoded = text.partition(".")
        key = self._keys.get(key_id)
        if key is None:
            raise UndecipherableError("the key that encrypted it isn't among the keys")
        try:
            sealed = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise UndecipherableError("it isn't base64url") from None
        if len(sealed) < _NONCE + _TAG:
            raise UndecipherableError("it is too short")
        try:
            return key.decrypt(sealed[:_NONCE], sealed[_NONCE:], self._bind(key_id, place))
        except InvalidTag:
            raise UndecipherableError("it was changed, belongs elsewhere, or is of another key") from None

    def _bind(self, key_id: str, place: str) -> bytes:
        return f"{self._purpose}\0{key_id}\0{place}".encode()


def _derive(key: str, purpose: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"bandmaster-oidc {purpose}".encode()).derive(
        key.encode()
    )
