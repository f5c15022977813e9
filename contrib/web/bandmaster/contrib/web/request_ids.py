"""Make request ids: UUIDs of version 7, which sort by time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

_TAIL_BYTES = 10
"""The bytes of a UUID after its 48 bits of milliseconds."""

# RFC 9562, 5.7: the version, 7, in the upper half of the first byte; the variant, binary 10, in the third byte.
_SET_VERSION = bytes(0x70 | byte & 0x0F for byte in range(256))
_SET_VARIANT = bytes(0x80 | byte & 0x3F for byte in range(256))


def new_request_id() -> str:
    """A UUIDv7 (RFC 9562) as 32 hex digits: unique, and sorted by time."""
    return RequestIds(1).new()


class RequestIds:
    """Makes the same ids as `new_request_id`, with the random parts of many ids at once.

    Make an instance after the last fork: two processes with the same random parts would make the same ids.
    """

    __slots__ = ("_batch", "_tails")

    def __init__(self, batch: int = 400) -> None:
        self._batch = batch
        self._tails: list[str] = []

    def new(self) -> str:
        """Make one id."""
        tails = self._tails
        if not tails:
            tails.extend(_make_tails(self._batch))
        return f"{time.time_ns() // 1_000_000:012x}{tails.pop()}"


def _make_tails(count: int) -> Iterator[str]:
    """Make the parts after the time: the version, 12 random bits, the variant and 62 random bits."""
    random = bytearray(os.urandom(count * _TAIL_BYTES))
    random[0::_TAIL_BYTES] = random[0::_TAIL_BYTES].translate(_SET_VERSION)
    random[2::_TAIL_BYTES] = random[2::_TAIL_BYTES].translate(_SET_VARIANT)
    digits = random.hex()
    return (digits[start : start + 2 * _TAIL_BYTES] for start in range(0, len(digits), 2 * _TAIL_BYTES))
