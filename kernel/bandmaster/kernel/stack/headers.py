"""The headers of a response, as hooks read and change them."""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import cast

_GET_NAME = itemgetter(0)
# A tuple, so that setting a header before there is a response fails instead of being lost.
NO_HEADERS = cast("list[tuple[bytes, bytes]]", ())


class HeaderBlock:
    """Response headers that are known in advance, prepared once for `set_headers` and `default_headers`."""

    __slots__ = ("names", "pairs")

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self.pairs = tuple((name.lower(), value) for name, value in pairs)
        self.names = frozenset(map(_GET_NAME, self.pairs))


class ResponseHeaders:
    """The headers of one response; every ``name`` is in lower case.

    Each method works from ``on_response_start`` on. Setting a header earlier is an `AttributeError`.
    """

    # The set of names spares each layer a comparison of its headers with those of all others. Code that holds the
    # list itself may append to it at any time, so the set counts only while the list is as long as when it was made.
    __slots__ = ("_counted", "_names", "_response_headers")

    _response_headers: list[tuple[bytes, bytes]]
    _names: set[bytes]
    _counted: int

    @property
    def response_headers(self) -> list[tuple[bytes, bytes]]:
        """The response's headers, names in lower case. Change the list, or assign another one."""
        self._counted = -1
        return self._response_headers

    @response_headers.setter
    def response_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        self._counted = -1
        self._response_headers = headers

    def response_header(self, name: bytes) -> bytes | None:
        """The first value of a response header, or None."""
        for known, value in self._response_headers:
            if known == name:
                return value
        return None

    def set_header(self, name: bytes, value: bytes) -> None:
        """Give a response header this one value, in place of all earlier values."""
        headers = self._response_headers
        names = self._names if self._counted == len(headers) else self._collect_names()
        if name in names:
            place = [known for known, _ in headers].index(name)
            headers[place:] = [(name, value), *(pair for pair in headers[place:] if pair[0] != name)]
        else:
            names.add(name)
            headers.append((name, value))
        self._counted = len(headers)

    def add_header(self, name: bytes, value: bytes) -> None:
        """Add a response header, and keep those of the same name."""
        self.response_headers.append((name, value))

    def remove_header(self, name: bytes) -> None:
        """Remove every response header of that name."""
        self.response_headers[:] = [pair for pair in self._response_headers if pair[0] != name]

    def set_headers(self, block: HeaderBlock) -> None:
        """Give all response headers of a block their values, in place of all earlier values."""
        headers = self._response_headers
        names = self._names if self._counted == len(headers) else self._collect_names()
        if not names.isdisjoint(block.names):
            headers[:] = [pair for pair in headers if pair[0] not in block.names]
        names |= block.names
        headers.extend(block.pairs)
        self._counted = len(headers)

    def default_headers(self, block: HeaderBlock) -> None:
        """Add those response headers of a block that the response doesn't have yet."""
        headers = self._response_headers
        names = self._names if self._counted == len(headers) else self._collect_names()
        headers.extend(
            block.pairs if names.isdisjoint(block.names) else [pair for pair in block.pairs if pair[0] not in names]
        )
        names |= block.names
        self._counted = len(headers)

    def vary(self, name: bytes) -> None:
        """Add a request header to ``Vary``, unless ``Vary`` lists that header, or ``*``, already."""
        headers = self._response_headers
        names = self._names if self._counted == len(headers) else self._collect_names()
        if b"vary" not in names:
            names.add(b"vary")
            headers.append((b"vary", name))
            self._counted = len(headers)
            return
        values = [value for known, value in headers if known == b"vary"]
        listed = {item.strip().lower() for item in b",".join(values).split(b",")}
        if b"*" not in listed and name.lower() not in listed:
            self.set_header(b"vary", b", ".join([*filter(None, values), name]))

    def _collect_names(self) -> set[bytes]:
        headers = self._response_headers
        names = self._names = set(map(_GET_NAME, headers))
        self._counted = len(headers)
        return names
