"""Choose the proxy of each call, from the settings and the environment. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from bandmaster.contrib.http.hosts import ExemptHost, parse_exempt_host
from bandmaster.contrib.http.settings import HttpSettings


@dataclass(frozen=True, slots=True)
class ProxyRules:
    """Which proxy each address is reached by. The URLs may hold passwords."""

    plain: str | None = None
    """The URL of the proxy for http:// addresses."""
    encrypted: str | None = None
    """The URL of the proxy for https:// addresses."""
    exempt: tuple[ExemptHost, ...] = ()
    exempts_all: bool = False

    def choose(self, scheme: str, host: str, port: int) -> str | None:
        """The URL of the proxy for an address; None for a direct connection."""
        proxy = self.encrypted if scheme in ("https", "wss") else self.plain
        if proxy is None or self.exempts_all or any(entry.matches(scheme, host, port) for entry in self.exempt):
            return None
        return proxy

    @property
    def urls(self) -> frozenset[str]:
        """The URLs of all proxies."""
        return frozenset(url for url in (self.plain, self.encrypted) if url is not None and not self.exempts_all)

    def __repr__(self) -> str:
        return f"<ProxyRules: {len(self.urls)} proxies>"


def make_proxy_rules(settings: HttpSettings) -> ProxyRules:
    """The rules of a client. A proxy of the settings is for every address; those of the environment have exemptions."""
    if settings.proxy_url is not None:
        return ProxyRules(settings.proxy_url, settings.proxy_url)
    if not settings.environment_proxies:
        return ProxyRules()
    entries = map(parse_exempt_host, settings.no_proxy)
    return ProxyRules(
        settings.http_proxy or settings.all_proxy,
        settings.https_proxy or settings.all_proxy,
        exempt=tuple(entry for entry in entries if entry is not None),
        exempts_all="*" in settings.no_proxy,
    )
