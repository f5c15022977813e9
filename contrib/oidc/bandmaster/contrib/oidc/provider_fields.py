"""The settings of one provider, which `AuthSettings` and `IssuerSettings` share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, SecretStr, StringConstraints, field_validator, model_validator
from pydantic_settings import NoDecode

from bandmaster.contrib.oidc.addresses import check_address, check_host, parse_address
from bandmaster.contrib.oidc.algorithms import check_algorithms, expand_algorithms
from bandmaster.contrib.oidc.request_params import OF_AUTHORIZATION, RequestParams, refuse_reserved

_Names = Annotated[tuple[str, ...], NoDecode]
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]

AccessTokenType = Literal["any", "at+jwt", "id_token", "opaque", "refused"]

TENANT = "{tenantid}"
"""The placeholder in the issuer of a provider with many tenants, as Microsoft Entra publishes it."""

_ENDPOINTS = (
    "discovery_url",
    "jwks_url",
    "authorization_url",
    "token_url",
    "userinfo_url",
    "introspection_url",
    "end_session_url",
)
_OF_GRANTS = frozenset(
    {
        "assertion",
        "client_assertion",
        "client_assertion_type",
        "client_id",
        "client_secret",
        "code",
        "code_verifier",
        "grant_type",
        "redirect_uri",
        "refresh_token",
    }
)


class ProviderFields(BaseModel):
    """The settings of one provider, except for its issuer."""

    name: _Name = Field(
        default="default",
        description="The name of the provider in login addresses, logs and the plan: lower case, digits, - and _.",
    )
    audiences: _Names = Field(default=(), description="Who tokens must be meant for (aud); one match is enough.")
    authorized_parties: _Names = Field(
        default=(),
        description="Clients (azp) whose tokens are accepted although no audience matches, as Keycloak's are by "
        "default.",
    )
    algorithms: _Names = Field(
        default=("RS256", "ES256", "EdDSA"),
        description="The signature algorithms that are accepted; EdDSA and Ed25519 are one.",
    )
    access_token_type: AccessTokenType = Field(
        default="any",
        description="The bearer tokens of this provider: any JWT, at+jwt for those of RFC 9068 alone, id_token to take "
        "ID tokens as well, opaque for tokens that are introspected (RFC 7662), or refused for a provider that is for "
        "login only.",
    )
    tenants: _Names = Field(
        default=(), description="The tenants of an issuer with {tenantid}, as Microsoft Entra has it; no others."
    )
    scope_claims: _Names = Field(
        default=("scope", "scp"),
        description="The claims that hold scopes, as a text with blanks or as a list; a name with dots leads into "
        "objects: realm_access.roles.",
    )

    discovery_url: str | None = Field(
        default=None, description="Where the discovery document is, if not below the issuer: an internal address."
    )
    discovery_issuer: str | None = Field(
        default=None, description="The issuer that the discovery document names, if tokens name another."
    )
    jwks_url: str | None = Field(
        default=None,
        description="Where the signing keys are, if not where discovery says. Tokens are verified without discovery "
        "then.",
    )
    authorization_url: str | None = Field(default=None, description="The authorization endpoint, likewise.")
    token_url: str | None = Field(default=None, description="The token endpoint, likewise.")
    userinfo_url: str | None = Field(default=None, description="The userinfo endpoint, likewise.")
    introspection_url: str | None = Field(default=None, description="The introspection endpoint, likewise.")
    end_session_url: str | None = Field(default=None, description="The logout endpoint, likewise.")
    plain_http_hosts: _Names = Field(
        default=(),
        description="Hosts that may be reached by plain HTTP, and internal IP addresses that discovery may name; "
        "outside production this machine is one.",
    )

    client_id: str | None = Field(default=None, description="The client for login, introspection and refresh.")
    client_secret: SecretStr | None = Field(default=None, description="The client's secret.")
    login: bool = Field(
        default=True, description="Whether users log in by this provider, if it has a client; false: tokens only."
    )
    login_scopes: _Names = Field(
        default=("openid", "profile", "email"),
        description="The scopes that a login asks for; many providers give a refresh token for offline_access.",
    )
    response_mode: Literal["query", "form_post"] = Field(
        default="query", description="How the provider answers a login: by a redirect, or by a form as Apple does."
    )
    token_auth_method: Literal["auto", "client_secret_basic", "client_secret_post", "none"] = Field(
        default="auto", description="How the client authenticates at the token endpoint; auto: as discovery says."
    )
    userinfo: bool = Field(
        default=True, description="Whether a login asks the userinfo endpoint for claims, if there is one."
    )
    authorize_params: RequestParams = Field(
        default={},
        description='Further parameters of the authorization request, as JSON: {"audience": "https://api.example"}.',
    )
    grant_params: RequestParams = Field(
        default={},
        description='Further parameters of token requests, as JSON: {"resource": "https://api.example"}.',
    )

    @field_validator("algorithms")
    @classmethod
    def _check_algorithms(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return check_algorithms(value)

    @field_validator("audiences", "authorized_parties", "tenants", "scope_claims", "login_scopes")
    @classmethod
    def _refuse_blanks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(each.strip() for each in value):
            raise ValueError("has a blank item")
        return value

    @field_validator("plain_http_hosts")
    @classmethod
    def _check_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(check_host, value))

    @field_validator(*_ENDPOINTS, "discovery_issuer")
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        if value is not None:
            parse_address(value)
        return value

    @field_validator("authorize_params")
    @classmethod
    def _check_authorize_params(cls, value: RequestParams) -> RequestParams:
        return refuse_reserved(value, OF_AUTHORIZATION)

    @field_validator("grant_params")
    @classmethod
    def _check_grant_params(cls, value: RequestParams) -> RequestParams:
        return refuse_reserved(value, _OF_GRANTS)

    @model_validator(mode="after")
    def _check_endpoints(self) -> Self:
        for name in _ENDPOINTS:
            url = getattr(self, name)
            if url is not None:
                check_field(name, url, self.plain_http_hosts)
        return self

    @property
    def accepted_algorithms(self) -> frozenset[str]:
        """The names of algorithms that tokens may have: ``EdDSA`` and ``Ed25519`` admit each other."""
        return expand_algorithms(self.algorithms)

    @property
    def takes_tokens(self) -> bool:
        """Whether bearer tokens of this provider are accepted."""
        return self.access_token_type != "refused"  # noqa: S105  # no password

    @property
    def takes_opaque_tokens(self) -> bool:
        """Whether bearer tokens of this provider are introspected."""
        return self.access_token_type == "opaque"  # noqa: S105  # no password

    @property
    def has_login(self) -> bool:
        """Whether users log in by this provider."""
        return self.client_id is not None and self.login

    @property
    def addresses(self) -> Mapping[str, str]:
        """The addresses that are set, by the name of the setting."""
        return {name: url for name in _ENDPOINTS if (url := getattr(self, name)) is not None}


def check_field(name: str, url: str, plain_hosts: tuple[str, ...], *, allow_loopback: bool = True) -> None:
    """Check the address in a field.

    Raises:
        ValueError: the address must be an ``https`` one, or isn't one; the message begins with the field.
    """
    try:
        check_address(url, plain_hosts, allow_loopback=allow_loopback)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
