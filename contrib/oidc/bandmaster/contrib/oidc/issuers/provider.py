"""The configured providers while the application runs: their metadata and their keys."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup
from httpx2 import AsyncClient

from bandmaster.contrib.oidc.errors import AuthUnavailableError, ProviderRefusedError
from bandmaster.contrib.oidc.issuers.cached_document import CachedDocument, Clock
from bandmaster.contrib.oidc.issuers.documents import fetch_bytes, parse_document
from bandmaster.contrib.oidc.issuers.key_cache import KeyCache
from bandmaster.contrib.oidc.issuers.keys import KeySet, import_keys
from bandmaster.contrib.oidc.issuers.metadata import ProviderMetadata, parse_metadata
from bandmaster.contrib.oidc.settings import AuthSettings, IssuerSettings


class Provider:
    """One configured provider."""

    def __init__(
        self,
        settings: IssuerSettings,
        auth: AuthSettings,
        client: AsyncClient,
        tasks: TaskGroup,
        *,
        allow_loopback: bool = True,
        clock: Clock = time.monotonic,
    ) -> None:
        self.settings = settings
        self._auth = auth
        self._client = client
        self._allow_loopback = allow_loopback
        self._key_document = b""
        self.keys = KeyCache(settings.name, self._fetch_keys, tasks, auth, clock)
        """The signing keys of the provider."""
        self._metadata = CachedDocument[ProviderMetadata](
            f"the addresses of the provider {settings.name!r}",
            self._fetch_metadata,
            tasks,
            ttl=auth.discovery_ttl,
            max_age=float("inf"),
            longest_pause=auth.key_backoff,
            clock=clock,
        )

    @property
    def name(self) -> str:
        """The name in the settings."""
        return self.settings.name

    async def metadata(self) -> ProviderMetadata:
        """The addresses and the abilities of the provider, from its discovery document and the settings.

        Raises:
            AuthUnavailableError: the provider is away, or its document can't be used.
        """
        return self._metadata.peek() or await self._metadata.get()

    async def _fetch_metadata(self, _: ProviderMetadata | None) -> ProviderMetadata:
        url = self.settings.discovery_address
        document = parse_document(await self._fetch(url), url)
        return parse_metadata(document, self.settings, allow_loopback=self._allow_loopback)

    async def _fetch_keys(self, before: KeySet | None) -> KeySet:
        try:
            # Discovery and keys together: requests wait for both.
            with anyio.fail_after(self._auth.fetch_timeout):
                url, data = await self._fetch_key_document()
        except TimeoutError:
            timeout = self._auth.fetch_timeout
            raise AuthUnavailableError(f"the provider {self.name!r} doesn't answer within {timeout:g} s") from None
        if before is not None and data == self._key_document:
            return before
        document, allowed = parse_document(data, url), self.settings.accepted_algorithms
        keys = import_keys(document, allowed, source=url, max_keys=self._auth.max_keys)
        self._key_document = data
        return keys

    async def _fetch_key_document(self) -> tuple[str, bytes]:
        if self.settings.jwks_url is not None:
            return self.settings.jwks_url, await self._fetch(self.settings.jwks_url)
        url = self._find_key_address(self._metadata.peek() or await self._metadata.warm())
        try:
            return url, await self._fetch(url)
        except ProviderRefusedError:
            # The keys may have moved since discovery was asked.
            moved = self._find_key_address(await self._metadata.fetch_anew())
            if moved == url:
                raise
            return moved, await self._fetch(moved)

    def _find_key_address(self, metadata: ProviderMetadata) -> str:
        if metadata.jwks_uri is None:
            raise ProviderRefusedError(
                f"the discovery document at {self.settings.discovery_address} has no jwks_uri; set jwks_url"
            )
        return metadata.jwks_uri

    async def _fetch(self, url: str) -> bytes:
        return await fetch_bytes(
            self._client, url, max_bytes=self._auth.max_document_bytes, seconds=self._auth.fetch_timeout
        )


class Providers(Mapping[str, Provider]):
    """The configured providers by name, in the order of the settings."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._providers = providers

    def __getitem__(self, name: str) -> Provider:
        return self._providers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._providers)

    def __len__(self) -> int:
        return len(self._providers)


@asynccontextmanager
async def open_providers(
    settings: AuthSettings, client: AsyncClient, *, allow_loopback: bool = True, clock: Clock = time.monotonic
) -> AsyncIterator[Providers]:
    """The providers of the settings, until the block ends. Each document is fetched at the first use.

    With ``allow_loopback`` providers may be on this machine without TLS, as in development.
    """
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        try:
            yield Providers(
                {
                    one.name: Provider(one, settings, client, tasks, allow_loopback=allow_loopback, clock=clock)
                    for one in settings.providers
                }
            )
        except Exception as error:  # noqa: BLE001  # raised below: the task group would wrap it in a group
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
