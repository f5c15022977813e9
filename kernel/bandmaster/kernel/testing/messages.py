"""What an application has answered, as tests read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.message import Message as _Parameters
from http.cookies import SimpleCookie
from json import loads
from typing import Any, TypeAlias

RawHeaders: TypeAlias = Iterable[tuple[bytes, bytes]]
HeadersLike: TypeAlias = "Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]"

_SHOWN = 200
"""How much of a body a representation shows."""


class Headers(Mapping[str, str]):
    """Headers, found by name in any case: ``headers["content-type"]``.

    Several values of one name are joined by a comma (RFC 9110, 5.3); `all` tells them apart.
    """

    def __init__(self, raw: RawHeaders = ()) -> None:
        self.raw = tuple((bytes(name), bytes(value)) for name, value in raw)
        """As they were sent."""

    def all(self, name: str) -> list[str]:
        """Every value of that name, in order."""
        wanted = name.lower().encode("latin-1")
        return [value.decode("latin-1") for known, value in self.raw if known.lower() == wanted]

    def __getitem__(self, name: str) -> str:
        values = self.all(name)
        if not values:
            raise KeyError(f"no header {name!r}; there is: {', '.join(self) or 'none'}")
        return ", ".join(values)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.lower().decode("latin-1") for name, _ in self.raw))

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self.raw})

    def __repr__(self) -> str:
        return f"<Headers {[(name.decode('latin-1'), value.decode('latin-1')) for name, value in self.raw]}>"


def encode_headers(headers: HeadersLike) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI has them: bytes, names in lower case."""
    pairs: Any = headers.items() if isinstance(headers, Mapping) else headers
    return [(_encode(name).lower(), _encode(value)) for name, value in pairs]


def _encode(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text


@dataclass(frozen=True)
class Response:
    """A whole response."""

    status: int
    headers: Headers
    body: bytes
    messages: tuple[Mapping[str, Any], ...] = ()
    """The ASGI messages that it was made of."""

    @property
    def text(self) -> str:
        """The body, decoded as its content type says, else as UTF-8."""
        return self.body.decode(_charset(self.headers.get("content-type", "")))

    def json(self) -> Any:
        """The body, read as JSON.

        Raises:
            ValueError: it is none; the message shows it.
        """
        try:
            return loads(self.body)
        except ValueError as error:
            raise ValueError(f"{self!r} holds no JSON: {error}") from error

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that it sets; one that is deleted has an empty value."""
        return {name: morsel.value for name, morsel in self._morsels()}

    def _morsels(self) -> Iterator[tuple[str, Any]]:
        for line in self.headers.all("set-cookie"):
            yield from SimpleCookie(line).items()

    def __repr__(self) -> str:
        shown = f"{self.body[:_SHOWN]!r}{'…' if len(self.body) > _SHOWN else ''}"
        return f"<Response {self.status} {self.headers.get('content-type', 'without a content type')}: {shown}>"


def _charset(content_type: str) -> str:
    parameters = _Parameters()
    parameters["content-type"] = content_type
    return parameters.get_content_charset("utf-8")
