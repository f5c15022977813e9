"""The text of a key: ``bmk_live_`` with an id, a secret and a checksum. Pure, apart from the random numbers."""

from __future__ import annotations

import re
import secrets
import zlib

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""The digits of base 62, in the order of their values."""
ID_LENGTH = 13
"""Characters of an id: 77 bits, so that random ids don't meet."""
SECRET_BYTES = 32
"""Random bytes of a secret."""
SECRET_LENGTH = 43
"""Characters of a secret: the shortest length in base 62 that holds 256 bits."""
CHECKSUM_LENGTH = 6
"""Characters of a checksum: the shortest length in base 62 that holds 32 bits."""
BODY_LENGTH = ID_LENGTH + SECRET_LENGTH + CHECKSUM_LENGTH
"""Characters after the prefix."""

_VALUES = {digit: value for value, digit in enumerate(ALPHABET)}
_WHOLE_KEY = re.compile(rf"[A-Za-z0-9]+_[A-Za-z0-9]+_([0-9A-Za-z]{{{ID_LENGTH}}})[0-9A-Za-z]+")


def make_prefix(product: str, environment: str) -> str:
    """The prefix of all keys of an environment: ``bmk_live_``."""
    return f"{product}_{environment}_"


def generate_key(prefix: str) -> str:
    """A new key with a random id and a secret of 256 bits, both from the operating system's generator."""
    key_id = encode_base62(secrets.randbelow(62**ID_LENGTH), ID_LENGTH)
    secret = encode_base62(int.from_bytes(secrets.token_bytes(SECRET_BYTES)), SECRET_LENGTH)
    return add_checksum(f"{prefix}{key_id}{secret}")


def read_id(key: str, prefix: str) -> str | None:
    """The id in a key; None if the text isn't a key with this prefix, or the checksum is wrong."""
    start = len(prefix)
    if len(key) != start + BODY_LENGTH or not key.startswith(prefix) or not key.isascii() or not key[start:].isalnum():
        return None
    checksum = 0
    for character in key[-CHECKSUM_LENGTH:]:
        checksum = checksum * 62 + _VALUES[character]
    if checksum != zlib.crc32(key[:-CHECKSUM_LENGTH].encode("ascii")):
        return None
    return key[start : start + ID_LENGTH]


def find_id(text: str) -> str:
    """The id in a text that may be a whole key, of any product and environment; otherwise the text itself.

    For people who have a key and are asked for an id: an answer that repeats the id doesn't repeat the key.
    """
    found = _WHOLE_KEY.fullmatch(text)
    return text if found is None else found[1]


def add_checksum(text: str) -> str:
    """The text with its CRC-32 (ISO/HDLC, as in zlib) in base 62, most significant digit first."""
    return text + encode_base62(zlib.crc32(text.encode("ascii")), CHECKSUM_LENGTH)


def encode_base62(number: int, length: int) -> str:
    """A number in base 62, with zeros in front up to the length.

    >>> encode_base62(62 * 62 + 61, 4)
    '010z'

    Raises:
        ValueError: the number is negative, or needs more digits.
    """
    digits = []
    rest = number
    for _ in range(length):
        rest, digit = divmod(rest, 62)
        digits.append(ALPHABET[digit])
    if rest:
        raise ValueError(f"number: expected 0 to 62 to the power of {length}, got another one")
    return "".join(reversed(digits))
