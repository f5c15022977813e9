"""Check the addresses of providers: HTTPS, except for hosts that may be reached without. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

# Only the characters of RFC 3986: parsers disagree about backslashes, blanks and everything else.
_URL = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%{}-]+")
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")
_NUMBER = re.compile(r"(0[xX][0-9A-Fa-f]*|[0-9]+)")

_LOOPBACK_NAMES = frozenset({"ip6-localhost", "ip6-loopback", "localhost.localdomain", "localhost6"})
"""Further names of this machine, as systems have them in ``/etc/hosts``."""
_WITH_IPV4 = tuple(map(IPv6Network, ("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96")))
"""The IPv6 networks whose addresses end with an IPv4 address (RFC 4291, 2.5.5.1; RFC 6052, 2.1; RFC 8215; RFC 2765)."""


@dataclass(frozen=True, slots=True)
class Address:
    """The scheme and the host of an address."""

    scheme: str
    host: str
    """In lower case, an IPv6 address without its brackets."""

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine."""
        address = _find_ip(self.host)
        if address is None:
            return self.host == "localhost" or self.host.endswith(".localhost")
        return address.is_loopback

    @property
    def is_internal(self) -> bool:
        """Whether the host is this machine, or an address that isn't reachable from everywhere."""
        address = _find_ip(self.host)
        if address is None:
            return self.is_loopback or self.host in _LOOPBACK_NAMES
        inner = _find_inner(address)
        return not address.is_global or address.is_multicast or (inner is not None and not inner.is_global)


def parse_address(url: str) -> Address:
    """Parse the address of a provider.

    >>> parse_address("https://[::1]:8443/keys")
    Address(scheme='https', host='::1')

    Raises:
        ValueError: the text isn't an absolute ``http`` or ``https`` URL, or has a user, a password or a fragment.
    """
    if not _URL.fullmatch(url):
        raise ValueError("isn't a URL, or has characters that no URL may have; expected https://...")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("isn't a URL; expected https://...") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError("has another scheme than https")
    if "@" in parts.netloc:
        raise ValueError("has a user or a password")
    if "#" in url:
        raise ValueError("has a fragment")
    if port == 0 or not _is_host(host, parts.netloc):
        raise ValueError("has a malformed host or port")
    return Address(parts.scheme, host.removesuffix("."))


def check_address(url: str, plain_hosts: Collection[str] = (), *, allow_loopback: bool = True) -> Address:
    """Check that a provider may be reached at an address.

    ``plain_hosts`` are the hosts that may be reached without TLS. With ``allow_loopback`` this machine is another one.

    Raises:
        ValueError: the text isn't a URL, or the host must be reached by ``https``.
    """
    address = parse_address(url)
    if address.scheme == "https" or address.host in plain_hosts:
        return address
    if allow_loopback and address.is_loopback:
        return address
    raise ValueError("isn't https, and its host isn't among plain_http_hosts")


def check_published_address(
    url: str, source: str, plain_hosts: Collection[str] = (), *, allow_loopback: bool = True
) -> Address:
    """Check an address that the document at ``source`` names. The address must not lead to internal hosts.

    An internal IP address is accepted only as the host of the document itself, or as one of ``plain_hosts``. A
    name that resolves to such an address isn't found here; TLS protects against it, since the host has no certificate
    for the name.

    Raises:
        ValueError: as for `check_address`, or the address is an internal one.
    """
    address = check_address(url, plain_hosts, allow_loopback=allow_loopback)
    if address.is_internal and address.host not in plain_hosts and address.host != parse_address(source).host:
        raise ValueError("leads to an internal address, which the settings don't name")
    return address


def check_host(host: str) -> str:
    """Check the name or the address of a host, without scheme and port; returns the host in lower case.

    Raises:
        ValueError: the text is no host.
    """
    name = host.lower().removeprefix("[").removesuffix("]").removesuffix(".")
    if _find_ip(name) is None and not _NAME.fullmatch(name):
        raise ValueError("not the name of a host; expected one such as keycloak.internal, without a port")
    return name


def _is_host(host: str, netloc: str) -> bool:
    if netloc.startswith("["):
        return _find_ip(host) is not None
    if not _NAME.fullmatch(host):
        return False
    # Resolvers read 2130706433, 0x7f.1 and 127.1 as IPv4 addresses.
    last = host.removesuffix(".").rpartition(".")[2]
    return not _NUMBER.fullmatch(last) or _find_ip(host) is not None


def _find_ip(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _find_inner(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """The IPv4 address to which a translator or a tunnel leads from an IPv6 one; None for other addresses."""
    if isinstance(address, IPv4Address):
        return None
    if any(address in network for network in _WITH_IPV4):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.sixtofour
