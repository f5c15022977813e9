"""Match the hosts of calls with names, wildcards and networks. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")


def check_host_pattern(text: str) -> str:
    """A host, or ``*.`` and a domain, in small letters.

    Raises:
        ValueError: the text is no such pattern.
    """
    pattern = text.strip().lower()
    if "/" in pattern:
        raise ValueError(f"{text!r} isn't a host; leave out the scheme and the path")
    if pattern == "*":
        raise ValueError("'*' would mean every host on the internet; name hosts, or *.internal for all below internal")
    name = pattern.removeprefix("*.").strip("[]")
    if not (_is_address(name) or _NAME.fullmatch(name.removesuffix("."))):
        raise ValueError(f"{text!r} isn't a host, such as orders.internal, or *.internal for all below internal")
    return f"*.{name}" if pattern.startswith("*.") else name


def matches_host(pattern: str, host: str) -> bool:
    """Whether a host is the one that a pattern names, or below the domain of a pattern with ``*.``.

    >>> matches_host("*.internal", "orders.internal"), matches_host("*.internal", "internal")
    (True, False)
    """
    host = host.lower().removesuffix(".")
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and not _is_address(host)
    return host == pattern.removesuffix(".")


@dataclass(frozen=True, slots=True)
class ExemptHost:
    """Hosts that are reached without a proxy: one entry of ``NO_PROXY``."""

    name: str = ""
    """A host or an address; empty for a network."""
    network: IPv4Network | IPv6Network | None = None
    port: int | None = None
    scheme: str = ""
    includes_itself: bool = True
    includes_subdomains: bool = True

    def matches(self, scheme: str, host: str, port: int) -> bool:
        """Whether the entry is about an address."""
        if (self.scheme and self.scheme != scheme) or (self.port is not None and self.port != port):
            return False
        host = host.lower().removesuffix(".")
        if self.network is not None:
            return _is_address(host) and ip_address(host) in self.network
        if host == self.name:
            return self.includes_itself
        return self.includes_subdomains and host.endswith(f".{self.name}") and not _is_address(host)


def parse_exempt_host(text: str) -> ExemptHost | None:
    """An entry of ``NO_PROXY``; None for one that can't be read, which curl, Go and httpx2 ignore as well.

    A domain means the hosts below it, too; one with a dot in front means only those below, as for Go and httpx2. One
    with a scheme is that host alone, as httpx2 has it.
    """
    scheme, separator, rest = text.strip().lower().rpartition("://")
    if separator and scheme == "all":
        scheme = ""
    try:
        return ExemptHost(network=ip_network(rest, strict=False), scheme=scheme)
    except ValueError:
        pass
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    if _is_address(host):
        return ExemptHost(network=ip_network(host), port=port, scheme=scheme)
    name = host.removeprefix("*").removeprefix(".").removesuffix(".")
    if parts.path or not _NAME.fullmatch(name):
        return None
    is_alone = name == "localhost" or bool(separator and not host.startswith("*"))
    return ExemptHost(
        name=name,
        port=port,
        scheme=scheme,
        includes_itself=not host.startswith((".", "*.")),
        includes_subdomains=not is_alone,
    )


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
