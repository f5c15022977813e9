"""The discovery document of a provider, checked (OpenID Connect Discovery, section 4.3). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from bandmaster.contrib.oidc.addresses import check_published_address
from bandmaster.contrib.oidc.claim_values import quote
from bandmaster.contrib.oidc.errors import ProviderRefusedError
from bandmaster.contrib.oidc.settings import IssuerSettings

_ENDPOINTS = {
    "jwks_uri": "jwks_url",
    "authorization_endpoint": "authorization_url",
    "token_endpoint": "token_url",
    "userinfo_endpoint": "userinfo_url",
    "introspection_endpoint": "introspection_url",
    "end_session_endpoint": "end_session_url",
    "revocation_endpoint": None,
}
"""The members of the document that are addresses, and the settings that override them."""
_LISTS = ("code_challenge_methods_supported", "token_endpoint_auth_methods_supported")
_FLAGS = (
    "authorization_response_iss_parameter_supported",
    "backchannel_logout_supported",
    "backchannel_logout_session_supported",
)


@dataclass(frozen=True, slots=True)
class ProviderMetadata:
    """The addresses and the abilities of a provider: those that settings name, then those of discovery."""

    issuer: str
    """The issuer of the settings."""
    jwks_uri: str | None = None
    authorization_endpoint: str | None = None
    token_endpoint: str | None = None
    userinfo_endpoint: str | None = None
    introspection_endpoint: str | None = None
    end_session_endpoint: str | None = None
    revocation_endpoint: str | None = None
    code_challenge_methods_supported: tuple[str, ...] = ()
    token_endpoint_auth_methods_supported: tuple[str, ...] = ()
    authorization_response_iss_parameter_supported: bool = False
    backchannel_logout_supported: bool = False
    backchannel_logout_session_supported: bool = False
    document: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False, compare=False)
    """The whole discovery document."""


def parse_metadata(
    document: Mapping[str, Any], settings: IssuerSettings, *, allow_loopback: bool = True
) -> ProviderMetadata:
    """The checked metadata of a discovery document.

    With ``allow_loopback`` endpoints on this machine may be reached by plain HTTP.

    Raises:
        ProviderRefusedError: the document names another issuer than the settings, or an address that may not be used.
    """
    source = settings.discovery_address
    found = document.get("issuer")
    if not isinstance(found, str) or found not in settings.discovery_issuers:
        expected = " or ".join(repr(one) for one in sorted(settings.discovery_issuers))
        raise ProviderRefusedError(
            f"the discovery document at {source} names the issuer {quote(found)}, and the settings {expected}; they "
            "must be equal, the slash at the end included. If tokens name another issuer than the document does, set "
            "discovery_issuer to the document's"
        )
    values: dict[str, Any] = {}
    for member, setting in _ENDPOINTS.items():
        url = document.get(member)
        if setting is not None and (own := getattr(settings, setting)) is not None:
            values[member] = own
        elif url is not None:
            _check_endpoint(member, setting, url, settings, allow_loopback=allow_loopback)
            values[member] = url
    values |= {name: _read_list(document.get(name)) for name in _LISTS}
    values |= {name: document.get(name) is True for name in _FLAGS}
    return ProviderMetadata(issuer=settings.issuer, document=MappingProxyType(dict(document)), **values)


def _check_endpoint(
    member: str, setting: str | None, url: object, settings: IssuerSettings, *, allow_loopback: bool
) -> None:
    source = settings.discovery_address
    if not isinstance(url, str):
        raise ProviderRefusedError(f"the discovery document at {source} has a {member} that isn't a text")
    try:
        check_published_address(url, source, settings.plain_http_hosts, allow_loopback=allow_loopback)
    except ValueError as error:
        override = f" Set {setting} to the right address, if the document can't be mended." if setting else ""
        raise ProviderRefusedError(
            f"the discovery document at {source} names {quote(url)} as {member}, which {error}.{override}"
        ) from None


def _read_list(value: object) -> tuple[str, ...]:
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()
