"""Parse the URL of a Redis into an address. Pure."""

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
    """The place of a Redis database, and its user. The text of an address has no password."""

    scheme: str
    hosts: tuple[tuple[str, int], ...] = ()
    """The host and port of the server, or those of its sentinels."""
    path: str = ""
    """The path of the Unix socket, if the scheme is ``unix``."""
    service: str = ""
    """The sentinels' name for the master."""
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def tls(self) -> bool:
        """Whether the connection uses TLS."""
        return self.scheme.startswith("rediss")

    @property
    def by_sentinel(self) -> bool:
        """Whether sentinels name the server."""
        return self.scheme.endswith("+sentinel")

    def __str__(self) -> str:
        hosts = ", ".join(f"{_render_host(host)}:{port}" for host, port in self.hosts)
        known = f"the master {self.service!r} of the sentinels {hosts}"
        return f"{known if self.by_sentinel else self.path or hosts}, database {self.database}"


def parse_address(url: str) -> Address:
    """Parse a URL.

    Schemes are ``redis``, ``rediss`` (TLS), ``unix``, ``redis+sentinel`` and ``rediss+sentinel``. The default ports are
    6379 and 26379 for sentinels, the default database is 0.

    >>> str(parse_address("redis+sentinel://a,b:26380/orders/2"))
    "the master 'orders' of the sentinels a:26379, b:26380, database 2"

    Raises:
        ValueError: the URL is malformed. The message repeats only its scheme, since the rest may hold a password.
    """
    url = url.strip()
    if not url:
        raise ValueError(f"is blank; expected a URL such as {EXPECTED}")
    scheme, separator, _ = url.lower().partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        raise ValueError(f"isn't a URL; expected one such as {EXPECTED}")
    if scheme not in _SCHEMES:
        raise ValueError(f"has the scheme {scheme!r}; expected one of {', '.join(_SCHEMES)}")
    parts = _split_url(url)
    username, password, hosts = _parse_authority(parts.netloc)
    database = _parse_query(parts.query)
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
        servers = _parse_hosts(hosts, SENTINEL_PORT)
    else:
        service, servers = "", _parse_hosts(hosts, PORT)
        if len(servers) > 1:
            raise ValueError("names several hosts, which only redis+sentinel:// takes")
    if path and database is not None:
        raise ValueError("names the database twice, in the path and as db")
    return Address(
        scheme,
        servers,
        service=service,
        database=database or _parse_database(path),
        username=username,
        password=password,
    )


def same_database(url: str, other: str) -> bool:
    """Whether two URLs mean one database of one server, judged by their texts alone.

    All names of the local machine are equal. Sentinels are equal if they share a host and name the same master. A Unix
    socket and a port of one server are taken for two servers, and so are a sentinel's master and its host.

    >>> same_database("redis://localhost", "redis://user:secret@127.0.0.1:6379/0")
    True

    Raises:
        ValueError: a URL isn't the address of a Redis.
    """
    one, two = parse_address(url), parse_address(other)
    if one.database != two.database or one.by_sentinel != two.by_sentinel or one.service != two.service:
        return False
    if one.path or two.path:
        return posixpath.normpath(one.path) == posixpath.normpath(two.path)
    return not {(_normalize_host(host), port) for host, port in one.hosts}.isdisjoint(
        (_normalize_host(host), port) for host, port in two.hosts
    )


def _split_url(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError:
        # The parser's message repeats the text, password included.
        raise ValueError(f"isn't a URL; expected one such as {EXPECTED}") from None
    if parts.fragment or "#" in url:
        raise ValueError("has a '#'; in a user or a password it is written as %23")
    return parts


def _parse_authority(text: str) -> tuple[str | None, str | None, str]:
    user, separator, hosts = text.rpartition("@")
    name, _, password = user.partition(":")
    return (unquote(name) or None, unquote(password) or None, hosts) if separator else (None, None, text)


def _parse_hosts(text: str, port: int) -> tuple[tuple[str, int], ...]:
    return tuple(_parse_host(each.strip(), port) for each in text.split(","))


def _parse_host(text: str, default: int) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    # The last colon of an IPv6 address in brackets belongs to the address.
    if not separator or text.endswith("]"):
        host, port = text, str(default)
    if not host:
        raise ValueError(f"names no host; expected a URL such as {EXPECTED}")
    if not _NUMBER.fullmatch(port) or not 0 < int(port) < 1 << 16:
        raise ValueError(
            "has a port that isn't a number from 1 to 65535; in a user or a password ':' is written as %3A, '/' as "
            "%2F, '@' as %40"
        )
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_address(host):
            raise ValueError("has a host in brackets that isn't an IPv6 address")
    elif not _NAME.fullmatch(host):
        raise ValueError(f"has a malformed host; expected a URL such as {EXPECTED}")
    return host.lower(), int(port)


def _parse_database(path: list[str]) -> int:
    if not path:
        return 0
    if len(path) > 1 or not _NUMBER.fullmatch(path[0]):
        raise ValueError(f"has a path that isn't the number of a database; expected a URL such as {EXPECTED}")
    return int(path[0])


def _parse_query(query: str) -> int | None:
    options = parse_qs(query, keep_blank_values=True)
    if options.keys() & {"password", "username"}:
        raise ValueError(f"has a user or a password after the '?'; they stand before the '@', as in {EXPECTED}")
    # redis-py would let options override the settings, and so their bounds.
    if options.keys() - {"db"}:
        raise ValueError("has options after the '?'; only db is allowed there, use settings for the others")
    found = options.get("db")
    return None if found is None else _parse_database([found[-1]])


def _normalize_host(host: str) -> str:
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


def _render_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
