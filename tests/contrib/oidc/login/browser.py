"""A browser for tests: cookies by the rules, navigation headers, and redirects between sites."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2

NAVIGATION = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document", "accept": "text/html,*/*;q=0.8"}


@dataclass
class Cookie:
    """A cookie that the browser keeps."""

    value: str
    is_secure: bool
    same_site: str
    attributes: str


@dataclass
class Browser:
    """Sends requests to sites: their origins with the ASGI clients that answer for them."""

    sites: dict[str, httpx2.AsyncClient]
    home: str = "https://app.example"
    jars: dict[str, dict[str, Cookie]] = field(default_factory=dict)
    """The cookies by host."""
    history: list[httpx2.Response] = field(default_factory=list)
    set_cookies: list[str] = field(default_factory=list)
    """Every ``Set-Cookie`` header so far."""

    @property
    def cookies(self) -> dict[str, Cookie]:
        """The cookies of the home site."""
        return self.jars.setdefault(urlsplit(self.home).netloc, {})

    async def visit(
        self, url: str, *, origin: str | None = None, follow: bool = True, **options: Any
    ) -> httpx2.Response:
        """Navigate to an address. ``origin`` is the page with the link; None: the user has typed the address."""
        site = _relate(origin, urljoin(self.home, url))
        headers = {**NAVIGATION, "sec-fetch-site": site, **options.pop("headers", {})}
        response = await self.send("GET", url, headers=headers, cross_site=site == "cross-site", **options)
        return await self.follow(response) if follow else response

    async def submit(
        self, url: str, form: dict[str, str], *, origin: str | None, follow: bool = True
    ) -> httpx2.Response:
        """Submit a form of a page at ``origin``."""
        site = _relate(origin, urljoin(self.home, url))
        headers = {**NAVIGATION, "sec-fetch-site": site, "origin": origin or "null"}
        response = await self.send("POST", url, headers=headers, data=form, cross_site=site == "cross-site")
        return await self.follow(response) if follow else response

    async def fetch(self, method: str, url: str, *, origin: str | None = None, **options: Any) -> httpx2.Response:
        """Send a request of a script of the page at ``origin``; of the home site's own unless given."""
        origin = origin or self.home
        site = _relate(origin, urljoin(self.home, url))
        headers = {"sec-fetch-mode": "cors", "sec-fetch-dest": "empty", "sec-fetch-site": site, "accept": "*/*"}
        if method not in ("GET", "HEAD"):
            headers["origin"] = origin
        headers |= options.pop("headers", {})
        return await self.send(method, url, headers=headers, cross_site=site == "cross-site", script=True, **options)

    async def follow(self, response: httpx2.Response) -> httpx2.Response:
        """Follow redirects to the end."""
        for _ in range(10):
            if not 300 <= response.status_code < 400:
                return response
            target = urljoin(str(response.request.url), response.headers["location"])
            response = await self.send("GET", target, headers={**NAVIGATION, "sec-fetch-site": "cross-site"})
        raise AssertionError("the redirects don't end")

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str],
        cross_site: bool = False,
        script: bool = False,
        **options: Any,
    ) -> httpx2.Response:
        """Send one request, with the cookies that a browser sends, and keep those of the response."""
        target = urljoin(self.home, url)
        parts = urlsplit(target)
        client = self.sites[f"{parts.scheme}://{parts.netloc}"]
        jar = self.jars.setdefault(parts.netloc, {})
        # RFC 6265bis: a Lax cookie goes with cross-site requests only if they navigate by a safe method.
        withheld = cross_site and (script or method not in ("GET", "HEAD"))
        sent = {name: one.value for name, one in jar.items() if (not one.is_secure or parts.scheme == "https")}
        if withheld:
            sent = {name: value for name, value in sent.items() if jar[name].same_site == "none"}
        if sent:
            headers = {**headers, "cookie": "; ".join(f"{name}={value}" for name, value in sent.items())}
        response = await client.request(method, target, headers=headers, follow_redirects=False, **options)
        client.cookies.clear()
        for header in response.headers.get_list("set-cookie"):
            self.set_cookies.append(header)
            _keep(jar, header, is_secure=parts.scheme == "https")
        self.history.append(response)
        return response

    def read_form(self, response: httpx2.Response) -> tuple[str, dict[str, str]]:
        """The address and the fields of the form of a page."""
        action = re.search(r'<form method="post" action="([^"]*)"', response.text)
        inputs = re.findall(r'<input(?: type="hidden")? name="([^"]*)" value="([^"]*)">', response.text)
        assert action is not None, response.text
        return unescape(action[1]), {unescape(name): unescape(value) for name, value in inputs}


def _keep(jar: dict[str, Cookie], header: str, *, is_secure: bool) -> None:
    pair, _, rest = header.partition(";")
    name, _, value = pair.partition("=")
    attributes = {part.strip().partition("=")[0].lower(): part.strip().partition("=")[2] for part in rest.split(";")}
    if len(header) > 4096 or ("secure" in attributes and not is_secure):
        return
    if name.startswith("__Host-") and not (
        is_secure and "secure" in attributes and attributes.get("path") == "/" and "domain" not in attributes
    ):
        return
    if attributes.get("max-age") == "0":
        jar.pop(name, None)
        return
    jar[name] = Cookie(value, "secure" in attributes, attributes.get("samesite", "lax").lower(), rest.strip())


def _relate(origin: str | None, target: str) -> str:
    if origin is None:
        return "none"
    one, other = urlsplit(origin), urlsplit(target)
    if (one.scheme, one.netloc) == (other.scheme, other.netloc):
        return "same-origin"
    same = one.scheme == other.scheme and one.netloc.split(".")[-2:] == other.netloc.split(".")[-2:]
    return "same-site" if same and one.netloc.count(".") + other.netloc.count(".") > 2 else "cross-site"
