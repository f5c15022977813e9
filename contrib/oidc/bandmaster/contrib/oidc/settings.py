"""Settings of authentication."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import NoDecode, SettingsConfigDict

from bandmaster.kernel import Settings

_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Names = Annotated[tuple[str, ...], NoDecode]


class IssuerSettings(BaseModel):
    """One provider, and what its tokens must hold. All times are in seconds."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    issuer: str = Field(description="The issuer, exactly as tokens name it. Entra: with {tenantid}, and tenants.")
    name: str = Field(default="default", description="The name of the provider, in login addresses, logs and the plan.")
    audiences: tuple[str, ...] = Field(default=(), description="Who tokens must be meant for; one match is enough.")
    algorithms: tuple[str, ...] = Field(
        default=("RS256", "ES256", "EdDSA"), description="The signature algorithms that are accepted."
    )
    tenants: tuple[str, ...] = Field(default=(), description="The tenants of an issuer with {tenantid}.")
    authorized_parties: tuple[str, ...] = Field(
        default=(), description="Clients (azp) whose tokens are accepted although no audience matches."
    )
    access_tokens: Literal["any", "at+jwt", "opaque"] = Field(
        default="any", description="any JWT, only RFC 9068 at+jwt, or opaque tokens, which are introspected (RFC 7662)."
    )
    discovery_url: str | None = Field(default=None, description="Where the discovery document is, if elsewhere.")
    jwks_url: str | None = Field(default=None, description="Where the keys are, if not where discovery says.")
    authorization_url: str | None = Field(default=None, description="The authorization endpoint, likewise.")
    token_url: str | None = Field(default=None, description="The token endpoint, likewise.")
    userinfo_url: str | None = Field(default=None, description="The userinfo endpoint, likewise.")
    introspection_url: str | None = Field(default=None, description="The introspection endpoint, likewise.")
    end_session_url: str | None = Field(default=None, description="The logout endpoint, likewise.")
    client_id: str | None = Field(default=None, description="The client for login, introspection and refresh.")
    client_secret: SecretStr | None = Field(default=None, description="The client's secret.")
    login: bool = Field(default=True, description="Whether users log in by this provider, if it has a client.")
    authorize_params: Mapping[str, str] = Field(
        default={}, description="Further parameters of the authorization request, as JSON."
    )
    grant_params: Mapping[str, str] = Field(default={}, description="Further parameters of token requests, as JSON.")
    login_scopes: tuple[str, ...] = Field(
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

    @property
    def has_login(self) -> bool:
        """Whether users log in by this provider."""
        return self.client_id is not None and self.login


class AuthSettings(Settings):
    """Settings of authentication, read from variables that begin with ``AUTH_``. All times are in seconds.

    ``AUTH_ISSUER`` and its neighbours describe one provider; ``AUTH_ISSUERS`` is a JSON list of further ones.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="AUTH_")

    issuer: str | None = Field(default=None, description="The issuer, exactly as its tokens name it.")
    audiences: _Names = Field(default=(), description="Who tokens must be meant for; one match is enough.")
    algorithms: _Names = Field(
        default=("RS256", "ES256", "EdDSA"), description="The signature algorithms that are accepted."
    )
    client_id: str | None = Field(default=None, description="The client for login, introspection and refresh.")
    client_secret: SecretStr | None = Field(default=None, description="The client's secret.")
    issuers: tuple[IssuerSettings, ...] = Field(
        default=(), repr=False, description="Further providers, as a JSON list of objects with the same names."
    )
    leeway: Annotated[float, Field(ge=0, le=300)] = Field(
        default=30, description="Seconds by which the clocks of providers may differ from ours."
    )
    public_url: str | None = Field(
        default=None, description="The address at which browsers reach this application; required in production."
    )

    @property
    def providers(self) -> tuple[IssuerSettings, ...]:
        """All providers: the one of ``AUTH_ISSUER``, if set, then those of ``AUTH_ISSUERS``."""
        if self.issuer is None:
            return self.issuers
        own = IssuerSettings(
            issuer=self.issuer,
            audiences=self.audiences,
            algorithms=self.algorithms,
            client_id=self.client_id,
            client_secret=self.client_secret,
        )
        return (own, *self.issuers)

    @property
    def has_login(self) -> bool:
        """Whether users log in by one of the providers."""
        return any(provider.has_login for provider in self.providers)
