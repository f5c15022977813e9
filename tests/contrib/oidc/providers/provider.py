"""The controls that all providers of the tests have in common: faults, counts, browsers."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from tests.contrib.oidc.providers.browser import Browser, Callback
from tests.contrib.oidc.providers.process import ProviderProcess


@dataclass(frozen=True)
class Fault:
    """How a provider spoils its answers at one path.

    Attributes:
        path: where.
        times: to how many requests; None: to all.
        status: the answer's status, with ``body`` (``repeat`` times) and ``headers``; None: the provider's own answer.
        trickle: seconds between one byte and the next.
        patch: the changes of the provider's own JSON answer, a merge patch (RFC 7396): None removes a member.
        delay: seconds before the answer.
        hold: whether requests wait until `Provider.release`.
        disconnect: whether the connection is closed without an answer.
    """

    path: str
    times: int | None = None
    status: int | None = None
    body: str = ""
    headers: dict[str, str] | None = None
    repeat: int = 1
    trickle: float = 0
    patch: Any = None
    delay: float = 0
    hold: bool = False
    disconnect: bool = False


class Provider:
    """The controls that all providers of the tests have in common."""

    def __init__(self, process: ProviderProcess) -> None:
        self.process = process

    @property
    def issuer(self) -> str:
        """The issuer, as tokens and the discovery document name it."""
        return self.process.issuer

    @property
    def discovery_url(self) -> str:
        """Where the discovery document is."""
        return f"{self.issuer}/.well-known/openid-configuration"

    @property
    def jwks_path(self) -> str:
        """The path of the published keys, for faults and counts."""
        return "/jwks"

    @property
    def tls(self) -> ssl.SSLContext:
        """Trusts the provider's certificate, for a client's ``verify``."""
        return self.process.tls

    def reset(self) -> Self:
        """Forget clients, users, sessions, tokens, faults and counts, and use the first keys again."""
        self.process.command("reset")
        return self

    def stop(self) -> None:
        """End the process: connections are refused until `start`.

        Raises:
            RuntimeError: the process serves other tests as well.
        """
        self._check_own()
        self.process.stop()

    def start(self) -> None:
        """Start the process again, at the same issuer, with new keys.

        Raises:
            RuntimeError: the process serves other tests as well.
        """
        self._check_own()
        self.process.start()

    def _check_own(self) -> None:
        if self.process.shared:
            raise RuntimeError("this provider serves other tests as well; ask for the fixture own_oidc_provider")

    def counts(self) -> dict[str, int]:
        """The number of requests at each path since the test began, or since `forget_counts`."""
        return dict(self.process.command("counts"))

    def forget_counts(self) -> None:
        """Count from zero again."""
        self.process.command("forget_counts")

    def add_fault(self, path: str, **fault: Any) -> None:
        """Spoil the answers at a path; `Fault` has the ways."""
        self.process.command("add_fault", **asdict(Fault(path, **fault)))

    def clear_faults(self) -> None:
        """Answer everything again, requests that wait included."""
        self.process.command("clear_faults")

    def waiting(self) -> int:
        """The number of requests that wait because of a fault with ``hold``."""
        return int(self.process.command("waiting"))

    def release(self) -> int:
        """Answer the requests that wait, and let no others wait. Return their number."""
        return int(self.process.command("release"))

    @asynccontextmanager
    async def browser(self) -> AsyncIterator[Browser]:
        """One person's browser, with cookies of its own."""
        async with self.process.open_client() as client:
            yield Browser(self.process, client)

    async def authorize(self, url: str, *, user: str | None = None, deny: bool = False) -> Callback:
        """Go through a login that an application has begun: from its redirect to the provider, to the callback.

        A hostile provider asks for no user.
        """
        async with self.browser() as browser:
            return await browser.follow(url, user=user, deny=deny)

    async def discovery(self) -> dict[str, Any]:
        """The discovery document."""
        return await self._get_json(self.discovery_url)

    async def jwks(self) -> dict[str, Any]:
        """The published keys."""
        return await self._get_json(f"{self.issuer}{self.jwks_path}")

    async def _get_json(self, url: str) -> dict[str, Any]:
        async with self.process.open_client() as client:
            answer = (await client.get(url)).raise_for_status()
            return dict(answer.json())


def path_of(url: str) -> str:
    """The path of an endpoint's URL, for faults and counts."""
    return urlsplit(url).path
