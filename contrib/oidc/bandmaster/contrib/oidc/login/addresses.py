"""The addresses of the login, all of them below the public one. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

PREFIX = "/auth"
"""The path of the login's routes."""
DEFAULT_PROVIDER = "default"
"""The name of the provider whose addresses have no name in them."""
DEVELOPMENT_URL = "http://localhost:8000"
"""The public address that is assumed outside of production where none is set."""

_MOST_CHARACTERS = 1024
# What a browser's address bar can hold without being rewritten. A browser reads a backslash as a slash, and skips tabs
# and line ends, so that other characters could lead to another host than the one that was checked.
_PLAIN = re.compile(r"[!-\[\]-~]+")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses that browsers and providers use, made from ``AUTH_PUBLIC_URL`` and never from a request.

    Raises:
        ValueError: the URL isn't an absolute one of HTTP, or has more than a host and a path.
    """

    public_url: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "public_url", self.public_url.rstrip("/"))
        try:
            parts = urlsplit(self.public_url)
            well_formed = parts.scheme in _DEFAULT_PORTS and bool(parts.hostname) and parts.port != 0
        except ValueError:
            well_formed = False
        if not well_formed or not _PLAIN.fullmatch(self.public_url) or re.search(r"[?#@]", self.public_url):
            raise ValueError("public_url: expected such as https://shop.example, with a path at the most")

    @property
    def is_secure(self) -> bool:
        """Whether browsers reach the application by HTTPS."""
        return self.public_url.lower().startswith("https:")

    @property
    def origin(self) -> str:
        """The origin as browsers send it (RFC 6454, section 6.2)."""
        return find_origin(self.public_url) or ""

    @property
    def path(self) -> str:
        """The path of the public address: empty, or with a slash in front."""
        return urlsplit(self.public_url).path

    @property
    def login(self) -> str:
        """The address at which a login begins."""
        return f"{self.public_url}{PREFIX}/login"

    def begin(self, provider: str | None = None) -> str:
        """The address at which a login by a provider begins."""
        return self.login if provider is None else f"{self.login}/{quote(provider, safe='')}"

    @property
    def logged_out(self) -> str:
        """The address to which providers send browsers after a logout; to be registered there."""
        return f"{self.public_url}{PREFIX}/logged-out"

    @property
    def backchannel_logout(self) -> str:
        """The address that providers call at a logout; to be registered there."""
        return f"{self.public_url}{PREFIX}/backchannel-logout"

    def callback(self, provider: str) -> str:
        """The redirect address of a provider; to be registered there.

        Each provider has one of its own, so that an answer of one can't pass for another's (RFC 9700, section 4.4.2).
        """
        return f"{self.public_url}{PREFIX}/callback{_name_provider(provider)}"

    def login_path(self, provider: str | None = None, return_to: str | None = None) -> str:
        """The path at which a login begins, for a redirect within the origin."""
        query = "" if return_to is None else f"?return_to={quote(return_to, safe='/')}"
        return f"{self.path}{PREFIX}/login{_name_provider(provider or DEFAULT_PROVIDER)}{query}"

    def is_twin(self, host: str) -> bool:
        """Whether a ``Host`` header names this machine by another name than the public address does.

        A browser keeps the cookies of ``127.0.0.1`` and of ``localhost`` apart, so a login that begins at one of them
        would find no cookie at the other.
        """
        public = urlsplit(self.public_url)
        try:
            asked = urlsplit(f"//{host}")
            same_port = asked.port == public.port
        except ValueError:
            return False
        names = {asked.hostname, public.hostname}
        return same_port and len(names) == 2 and names <= _LOOPBACK

    def below(self, path: str) -> str:
        """A path of the application, for a redirect within the origin."""
        return f"{self.path}{path}"

    def keep_same_origin(self, target: str | None, default: str) -> str:
        """The path of a target on our own origin; the path ``default`` of the application for every other target.

        The result begins with one slash, so that no browser reads another host in it.
        """
        fallback = self.below(default)
        if target is None or len(target) > _MOST_CHARACTERS or not _PLAIN.fullmatch(target) or target.startswith("//"):
            return fallback
        try:
            parts = urlsplit(urljoin(f"{self.public_url}/", target))
        except ValueError:
            return fallback
        if find_origin(parts.geturl()) != self.origin or "@" in parts.netloc:
            return fallback
        path = parts.path if parts.path.startswith("/") else f"/{parts.path}"
        if path.startswith("//"):
            return fallback
        return path + (f"?{parts.query}" if parts.query else "") + (f"#{parts.fragment}" if parts.fragment else "")


def find_origin(url: str) -> str | None:
    """The origin of a URL: scheme, host and port, without the scheme's own port; None if the URL has none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not host:
        return None
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}" + ("" if port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{port}")


def _name_provider(provider: str) -> str:
    return "" if provider == DEFAULT_PROVIDER else f"/{quote(provider, safe='')}"
