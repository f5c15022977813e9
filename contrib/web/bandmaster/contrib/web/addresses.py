"""Parse host names and origins, in request headers and in settings. Pure."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address

DEFAULT_PORTS = {"http": 80, "https": 443}

_MAX_AUTHORITY_BYTES = 255
_MAX_PORT = 0xFFFF
# Narrower than RFC 3986, which also allows %41 and '()*+,;= in a name. No host has such a name, and an application that
# builds a link or a page from the header would let these characters through.
_AUTHORITY = re.compile(rb"(?:(\[[0-9A-Fa-f:.]+\])|([\w~-]+(?:\.[\w~-]+)*)\.?)(?::(\d{0,5}))?")

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_PORT = re.compile(r"[1-9][0-9]{0,4}")


def read_authority(value: bytes) -> tuple[str, int | None] | None:
    """The host name and the port of a Host header; None if the header is malformed.

    The name is in lower case and without a dot at its end. An IPv6 address is in brackets and in its shortest form. A
    user name is malformed.

    >>> read_authority(b"Shop.Example.:8443")
    ('shop.example', 8443)
    >>> read_authority(b"user@shop.example")
    """
    found = _AUTHORITY.fullmatch(value)
    if found is None or len(value) > _MAX_AUTHORITY_BYTES:
        return None
    address, name, port = found[1], found[2], int(found[3]) if found[3] else None
    if port is not None and port > _MAX_PORT:
        return None
    if not address:
        return name.decode("ascii").lower(), port
    host = _normalize_ipv6(address.decode("ascii"))
    return None if host is None else (host, port)


def parse_origin(text: str) -> str:
    """Parse an origin in a setting to the form in which browsers send it (RFC 6454, 6.2).

    Raises:
        ValueError: the text is no origin, or more than an origin; the message suggests one where it can.
    """
    if text.lower() == "null":
        raise ValueError("'null' is the origin of every sandboxed page and every local file, so it can't be let in")
    if "*" in text:
        raise ValueError(
            f"{text!r}: * stands for every origin, not for a part of one; name each, or match them with "
            r"cors_origin_regex, such as https://[a-z0-9-]+\.shop\.example"
        )
    scheme, separator, rest = text.lower().partition("://")
    if not separator:
        scheme, rest = "https", text.lower()
    authority = _cut_authority(rest)
    name, port = _split_port(authority)
    host = _normalize_name(name)
    if host is None or not _SCHEME.fullmatch(scheme) or not (port is None or _is_port(port)):
        raise ValueError(
            f"{text!r} is no origin; it has a scheme, a host and perhaps a port: https://shop.example:8443"
        )
    # Browsers leave the default port of the scheme out.
    origin = f"{scheme}://{host}" + ("" if port is None or int(port) == DEFAULT_PORTS.get(scheme) else f":{port}")
    if not separator:
        raise ValueError(f"{text!r} has no scheme; did you mean {origin!r}?")
    if rest != authority:
        raise ValueError(f"{text!r} goes on after the host, which no Origin header does; did you mean {origin!r}?")
    if not name.isascii():
        raise ValueError(f"{text!r} has more than ASCII, which browsers don't send; did you mean {origin!r}?")
    return origin


def parse_host(text: str) -> str:
    """Parse a host name or a wildcard in a setting: in lower case, without a dot at its end.

    Raises:
        ValueError: the text is no host name, or more than a host name; the message suggests one where it can.
    """
    _, separator, rest = text.lower().rpartition("://")
    authority = _cut_authority(rest)
    name, port = _split_port(authority.removesuffix("."))
    wildcard = "*." if name.startswith(("*.", ".")) else ""
    host = _normalize_name(name.removeprefix("*").removeprefix(".") if wildcard else name)
    if host is None or (wildcard and host.startswith("[")):
        raise ValueError(f"{text!r} is no host name: expected such as shop.example, *.shop.example, [::1] or *")
    host = wildcard + host
    if separator or port is not None or authority != rest or not name.isascii() or name.startswith("."):
        raise ValueError(
            f"{text!r} is more than a host name, or another notation of one: give it without scheme, port and path, "
            f"in ASCII; did you mean {host!r}?"
        )
    return host


def _cut_authority(text: str) -> str:
    return re.split(r"[/?#]", text, maxsplit=1)[0]


def _split_port(authority: str) -> tuple[str, str | None]:
    name, separator, port = authority.rpartition(":")
    # Behind a bracket there is no port: the last colon belongs to the IPv6 address.
    return (name, port) if separator and not authority.endswith("]") else (authority, None)


def _is_port(text: str) -> bool:
    return _PORT.fullmatch(text) is not None and int(text) <= _MAX_PORT


def _normalize_name(name: str) -> str | None:
    """The name in the form that requests have; None if no host can have this name."""
    if name.startswith("[") and name.endswith("]"):
        return _normalize_ipv6(name)
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    return name if _NAME.fullmatch(name) else None


def _normalize_ipv6(text: str) -> str | None:
    """An IPv6 address in brackets, in its shortest form; None if the text in the brackets is no address."""
    try:
        return f"[{IPv6Address(text[1:-1]).compressed}]"
    except AddressValueError:
        return None
