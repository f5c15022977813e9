"""Decide whose trace a request goes on with: the trust boundary. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import TypeAlias

from bandmaster.contrib.tracing.settings import ANYBODY, UNIX

CallerTest: TypeAlias = Callable[[str | None], bool]
"""Whether the caller with an address is trusted; None for a caller without an address."""


def compile_callers(callers: Iterable[str]) -> CallerTest:
    """A function that tests whether a caller is among addresses, networks, ``unix`` and ``*``.

    >>> trusts = compile_callers(["10.0.0.0/8", "unix"])
    >>> trusts("10.1.2.3"), trusts("203.0.113.7"), trusts(None)
    (True, False, True)
    """
    names = frozenset(callers)
    if ANYBODY in names:
        return _trust_everybody
    networks = [ip_network(each) for each in sorted(names - {UNIX})]
    has_unix = UNIX in names
    if not networks:
        return lambda address: address is None and has_unix

    @lru_cache(maxsize=1024)
    def is_trusted(address: str | None) -> bool:
        if address is None:
            return has_unix
        try:
            # ::ffff:10.1.2.3 is 10.1.2.3 at a socket of IPv6.
            parsed = ip_address(address)
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None)
        return any((mapped or parsed) in network for network in networks)

    return is_trusted


def _trust_everybody(address: str | None) -> bool:
    return True
