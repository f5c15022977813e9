"""Where a Redis is: URLs in, addresses out. Pure."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

PORT = 6379
SENTINEL_PORT = 26379
EXPECTED = "redis://user:password@host:6379/0"

_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_NUMBER = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Redis is, and as whom it is entered. Its text has no secret in it."""

    scheme: str
    hosts: tuple[tuple[str, int], ...] = ()
    """The server's host and port, or those of the sentinels that know it."""
    path: str = ""
    """The Unix socket, where it is one."""
    service: str = ""
    """What the sentinels call the master."""
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def tls(self) -> bool:
        """Whether it is spoken to by TLS."""
        return self.scheme.startswith("rediss")

    @property
    def by_sentinel(self) -> bool:
        """Whether sentinels are asked where it is."""
        return self.scheme.endswith("+sentinel")

    def __str__(self) -> str:
        hosts = ", ".join(f"{_bracketed(host)}:{port}" for host, port in self.hosts)
        known = f"the master {self.service!r} of the sentinels {hosts}"
        return f"{known if self.by_sentinel else self.path or hosts}, database {self.database}"


def parse_address(url: str) -> Address:
    """The address that a URL means.

    Schemes are ``redis``, ``rediss`` (TLS), ``unix``, ``redis+sentinel`` and ``rediss+sentinel``. Ports are 6379 and
    26379 where none is named, the database 0.

    >>> str(parse_address("redis+sentinel://a,b:26380/orders/2"))
    "the master 'orders' of the sentinels a:26379, b:26380, database 2"

    Raises:
        ValueError: it is none; the text shows nothing of it but its scheme, since the rest may be a password.
    """
    url = url.strip()
    if not url:
        raise ValueError(f"is blank; expected a URL such as {EXPECTED}")
    scheme, separator, _ = url.lower().partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        raise ValueError(f"isn't a URL; expected one such as {EXPECTED}")
    if scheme not in _SCHEMES:
        raise ValueError(f"has the scheme {scheme!r}; expected one of {', '.join(_SCHEMES)}")
    parts = _split(url)
    username, password, hosts = _authority(parts.netloc)
    database = _database_of_query(parts.query)
    if scheme == "unix":
        if hosts or not parts.path.strip("/"):
            raise ValueError("names no socket by an absolute path; expected unix:///run/redis/redis.sock?db=0")
        socket = unquote(parts.path)
        return Address(scheme, path=socket, database=database or 0, username=username, password=password)
    path = [unquote(part) for part in parts.path.strip("/").split("/") if part]
    if scheme.endswith("+sentinel"):
        if not path:
            raise ValueError("names no master; expected redis+sentinel://host1:26379,host2:26379/master/0")
        service, *path = path
        servers = _hosts(hosts, SENTINEL_PORT)
    else:
        service, servers = "", _hosts(hosts, PORT)
        if len(servers) > 1:
            raise ValueError("names several hosts, which only redis+sentinel:// takes")
    if path and database is not None:
        raise ValueError("names the database twice, in the path and as db")
    return Address(
        scheme,
        servers,
        service=service,
        database=database or _database(path),
        username=username,
        password=password,
    )


def same_database(url: str, other: str) -> bool:
    """Whether two URLs mean one database of one server, as far as their texts tell.

    Names of the own machine are one, so are sentinels that have a host in common and the same master. It can't be told
    that a Unix socket and a port, or a sentinel's master and a host, are one.

    >>> same_database("redis://localhost", "redis://user:secret@127.0.0.1:6379/0")
    True

    Raises:
        ValueError: one of them is no address of a Redis.
    """
    one, two = parse_address(url), parse_address(other)
    if one.database != two.database or one.by_sentinel != two.by_sentinel or one.service != two.service:
        return False
    if one.path or two.path:
        return posixpath.normpath(one.path) == posixpath.normpath(two.path)
    return not {(_machine(host), port) for host, port in one.hosts}.isdisjoint(
        (_machine(host), port) for host, port in two.hosts
    )


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError:
        # What the parser says repeats the text, password and all.
        raise ValueError(f"isn't a URL; expected one such as {EXPECTED}") from None
    if parts.fragment or "#" in url:
        raise ValueError("has a '#'; in a user or a password it is written as %23")
    return parts


def _authority(text: str) -> tuple[str | None, str | None, str]:
    user, separator, hosts = text.rpartition("@")
    name, _, password = user.partition(":")
    return (unquote(name) or None, unquote(password) or None, hosts) if separator else (None, None, text)


def _hosts(text: str, port: int) -> tuple[tuple[str, int], ...]:
    return tuple(_host(each.strip(), port) for each in text.split(","))


def _host(text: str, default: int) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    # The last colon of an address of version 6 is its own.
    if not separator or text.endswith("]"):
        host, port = text, str(default)
    if not host:
        raise ValueError(f"names no host; expected a URL such as {EXPECTED}")
    if not _NUMBER.fullmatch(port) or not 0 < int(port) < 1 << 16:
        raise ValueError(
            "has a port that isn't a number from 1 to 65535; in a user or a password ':' is written as %3A, '/' as %2F, "
            "'@' as %40"
        )
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_address(host):
            raise ValueError("has a host in brackets that is no address of version 6")
    elif not _NAME.fullmatch(host):
        raise ValueError(f"has no host as names are; expected a URL such as {EXPECTED}")
    return host.lower(), int(port)


def _database(path: list[str]) -> int:
    if not path:
        return 0
    if len(path) > 1 or not _NUMBER.fullmatch(path[0]):
        raise ValueError(f"has a path that isn't the number of a database; expected a URL such as {EXPECTED}")
    return int(path[0])


def _database_of_query(query: str) -> int | None:
    options = parse_qs(query, keep_blank_values=True)
    if options.keys() & {"password", "username"}:
        raise ValueError(f"has a user or a password after the '?'; they stand before the '@', as in {EXPECTED}")
    # redis-py would let them win over the settings, and so over their bounds.
    if options.keys() - {"db"}:
        raise ValueError("has options after the '?'; only db may stand there, all else are settings of their own")
    found = options.get("db")
    return None if found is None else _database([found[-1]])


def _machine(host: str) -> str:
    host = host.removesuffix(".")
    if not _is_address(host):
        return "localhost" if host.endswith(".localhost") else host
    address = ip_address(host)
    return "localhost" if address.is_loopback or address.is_unspecified else str(address)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
