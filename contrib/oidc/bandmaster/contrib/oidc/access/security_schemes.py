"""The security schemes of an OpenAPI document: one for each provider, and those that other parts provide."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from bandmaster.contrib.oidc.access.prefixes import ProtectedPrefix, list_protected_prefixes
from bandmaster.contrib.oidc.access.settings import AccessSettings
from bandmaster.contrib.oidc.api_keys.settings import ApiKeySettings
from bandmaster.contrib.oidc.errors import AuthUnavailableError, ProviderRefusedError
from bandmaster.contrib.oidc.issuers.provider import Providers
from bandmaster.contrib.oidc.settings import AuthSettings, IssuerSettings
from bandmaster.kernel import Context, LifespanBand, lifespan


@dataclass(frozen=True, slots=True)
class SecurityScheme:
    """One way to show who calls, for the OpenAPI document. The document has those that parts provide."""

    name: str
    """The name in the document, and in the dialog of the docs page."""
    definition: Mapping[str, Any]
    """The Security Scheme Object (OpenAPI 3.1, section 4.8.27)."""
    takes_scopes: bool = False
    """Whether operations list the scopes that they require: for ``oauth2`` and ``openIdConnect``."""


@dataclass(frozen=True, slots=True)
class DocumentedSecurity:
    """The security of an application, for the OpenAPI documents."""

    schemes: tuple[SecurityScheme, ...]
    prefixes: tuple[ProtectedPrefix, ...] = ()
    client_id: str | None = None
    """The client by which the docs page logs in."""
    scopes: tuple[str, ...] = ()
    """The scopes that are selected beforehand in the dialog of the docs page."""
    authorize_params: Mapping[str, str] = field(default_factory=dict[str, str])
    """Further parameters of the docs page's login."""


class SecurityDescription:
    """Describes the security of a running application, with the endpoints that the providers publish."""

    def __init__(
        self,
        auth: AuthSettings,
        access: AccessSettings,
        *,
        providers: Providers | None = None,
        schemes: Sequence[SecurityScheme] = (),
        prefixes: Sequence[ProtectedPrefix] = (),
    ) -> None:
        self._auth = auth
        self._access = access
        self._providers = providers
        self._schemes = tuple(schemes)
        self._prefixes = tuple(prefixes)
        self._endpoints = {one.name: found for one in auth.providers if (found := _read_endpoints(one)) is not None}

    def describe(self) -> DocumentedSecurity:
        """The schemes with the endpoints that are known by now.

        A provider without known endpoints is described by the discovery address. Without any provider the docs page
        takes a token that is pasted in.
        """
        listed = [one for one in self._auth.providers if one.access_token_type != "refused"]  # noqa: S105  # no secret
        schemes = [_make_scheme(one, self._endpoints.get(one.name)) for one in listed]
        if not schemes:
            schemes = [SecurityScheme("bearer", {"type": "http", "scheme": "bearer"})]
        access = self._access
        # Of several providers nobody knows which one the page will log in at.
        params = access.choose_docs_params(listed[0].authorize_params if len(listed) == 1 else {})
        return DocumentedSecurity(
            (*schemes, *self._schemes), self._prefixes, access.docs_client_id, tuple(access.docs_scopes), params
        )

    async def discover(self) -> None:
        """Ask the providers for the endpoints that aren't known. One that is away is asked again the next time."""
        for provider in (self._providers or {}).values():
            if provider.name in self._endpoints:
                continue
            try:
                metadata = await provider.metadata()
            except (AuthUnavailableError, ProviderRefusedError):
                continue
            if metadata.authorization_endpoint is not None and metadata.token_endpoint is not None:
                self._endpoints[provider.name] = metadata.authorization_endpoint, metadata.token_endpoint


def _has_fastapi() -> bool:
    return find_spec("fastapi") is not None


@lifespan(band=LifespanBand.SERVICES, name="security_description", roles={"web"}, when=_has_fastapi)
async def security_description(
    auth: AuthSettings,
    access: AccessSettings,
    providers: Providers | None,
    keys: ApiKeySettings,
    schemes: Sequence[SecurityScheme],
    context: Context,
) -> AsyncIterator[SecurityDescription]:
    """Describes in the OpenAPI documents of FastAPI apps who may call."""
    all_schemes = [*([_make_key_scheme(keys)] if keys.is_enabled else []), *schemes]
    yield SecurityDescription(
        auth, access, providers=providers, schemes=all_schemes, prefixes=list_protected_prefixes(context.plan)
    )


def _make_key_scheme(settings: ApiKeySettings) -> SecurityScheme:
    return SecurityScheme("ApiKey", {"type": "apiKey", "in": "header", "name": settings.header})


def _make_scheme(provider: IssuerSettings, endpoints: tuple[str, str] | None) -> SecurityScheme:
    name = "oidc" if provider.name == "default" else provider.name
    if endpoints is None:
        address = provider.discovery_address
        return SecurityScheme(name, {"type": "openIdConnect", "openIdConnectUrl": address}, takes_scopes=True)
    authorization, token = endpoints
    flow = {"authorizationUrl": authorization, "tokenUrl": token, "scopes": {}}
    return SecurityScheme(name, {"type": "oauth2", "flows": {"authorizationCode": flow}}, takes_scopes=True)


def _read_endpoints(provider: IssuerSettings) -> tuple[str, str] | None:
    if provider.authorization_url is None or provider.token_url is None:
        return None
    return provider.authorization_url, provider.token_url
