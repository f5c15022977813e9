"""Settings of authentication."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from bandmaster.contrib.oidc.addresses import check_address, parse_address
from bandmaster.contrib.oidc.provider_fields import TENANT, ProviderFields, check_field
from bandmaster.kernel import KernelSettings, Problem, Settings

_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_CONFIG = SettingsConfigDict(
    extra="ignore", frozen=True, hide_input_in_errors=True, populate_by_name=True, env_prefix="AUTH_"
)


class IssuerSettings(ProviderFields):
    """One provider, with the conditions for its tokens.

    The issuer is compared as the exact text, character for character.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    issuer: str = Field(
        description="The issuer, exactly as its tokens name it. Microsoft Entra: with {tenantid}, and tenants."
    )

    @field_validator("issuer")
    @classmethod
    def _check_issuer(cls, value: str) -> str:
        return _check_issuer(value)

    @model_validator(mode="after")
    def _check_together(self) -> IssuerSettings:
        check_field("issuer", self.issuer.replace(TENANT, "tenant"), self.plain_http_hosts)
        if TENANT in self.issuer and not self.tenants:
            raise ValueError(f"tenants: the issuer has {TENANT}, and without a list any tenant would be let in")
        if self.tenants and TENANT not in self.issuer:
            raise ValueError(f"tenants: the issuer has no {TENANT} that they could stand for")
        return self

    @property
    def issuers(self) -> dict[str, str | None]:
        """The issuers that tokens may name, each with its tenant (``tid``) or None."""
        if TENANT not in self.issuer:
            return {self.issuer: None}
        return {self.issuer.replace(TENANT, tenant): tenant for tenant in self.tenants}

    @property
    def discovery_address(self) -> str:
        """The address of the discovery document (OpenID Connect Discovery, section 4).

        One terminal slash of the issuer is left out. An issuer with tenants is asked for by the first one.
        """
        if self.discovery_url is not None:
            return self.discovery_url
        return f"{next(iter(self.issuers)).removesuffix('/')}/.well-known/openid-configuration"

    @property
    def discovery_issuers(self) -> frozenset[str]:
        """The issuers that the discovery document may name."""
        if self.discovery_issuer is not None:
            return frozenset({self.discovery_issuer})
        return frozenset({self.issuer, *self.issuers})


class AuthSettings(Settings, ProviderFields):
    """Settings of authentication, read from variables that begin with ``AUTH_``. All times are in seconds.

    ``AUTH_ISSUER`` and its neighbours describe one provider; ``AUTH_ISSUERS`` is a JSON list of further ones, objects
    with the same names.
    """

    # The configuration of settings has more entries than that of the shared fields.
    model_config: ClassVar[SettingsConfigDict] = _CONFIG  # pyright: ignore[reportIncompatibleVariableOverride]

    issuer: str | None = Field(
        default=None,
        description="The issuer, exactly as its tokens name it. Microsoft Entra: with {tenantid}, and tenants.",
    )
    issuers: tuple[IssuerSettings, ...] = Field(
        default=(), repr=False, description="Further providers, as a JSON list of objects with the same names."
    )
    public_url: str | None = Field(
        default=None,
        description="The address at which browsers reach this application; required in production if users log in.",
    )

    leeway: Annotated[float, Field(ge=0, le=300)] = Field(
        default=30, description="Seconds by which the clocks of providers may differ from this machine's."
    )
    max_token_bytes: Annotated[int, Field(ge=256, le=1024 * 1024)] = Field(
        default=16 * 1024, description="The most bytes that a bearer token may have."
    )
    provider_away: Literal["fail", "degrade"] = Field(
        default="fail",
        description="The start without the keys of a provider that is away: fail, or degrade: readiness warns, and "
        "bearer tokens get 503 until the keys arrive.",
    )
    start_timeout: _Seconds = Field(default=10, description="Seconds at the start to fetch the keys of all providers.")
    fetch_timeout: _Seconds = Field(
        default=5, description="Seconds to fetch a discovery document or keys, and so the longest wait of a request."
    )
    max_document_bytes: Annotated[int, Field(ge=1024)] = Field(
        default=512 * 1024, description="The most bytes of a discovery document, and of a provider's keys."
    )
    max_keys: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=100, description="The most keys of one provider; those beyond are ignored."
    )
    key_ttl: _Seconds = Field(default=600, description="Seconds after which keys are fetched anew.")
    key_max_age: _Seconds = Field(
        default=86_400, description="Seconds for which known keys serve while their provider is away."
    )
    key_cooldown: _Seconds = Field(
        default=10, description="Seconds between two fetches that unknown key ids in tokens may cause."
    )
    key_backoff: Annotated[float, Field(ge=1, allow_inf_nan=False)] = Field(
        default=30, description="The longest pause between attempts to fetch while a provider is away, in seconds."
    )
    discovery_ttl: _Seconds = Field(
        default=86_400, description="Seconds after which discovery documents are fetched anew."
    )

    @field_validator("issuer")
    @classmethod
    def _check_issuer(cls, value: str | None) -> str | None:
        return None if value is None else _check_issuer(value)

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parse_address(value)
        if "?" in value:
            raise ValueError("has a query; expected an address such as https://shop.example")
        return value.removesuffix("/")

    @model_validator(mode="after")
    def _check_together(self) -> AuthSettings:
        if self.key_max_age < self.key_ttl:
            raise ValueError("key_max_age: must not be below key_ttl")
        names = Counter(provider.name for provider in self.providers)
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"issuers: several providers have the name {twice[0]!r}; give each a name of its own")
        verified = [one for one in self.providers if one.takes_tokens]
        named = Counter(issuer for provider in verified for issuer in provider.issuers)
        if twice := [issuer for issuer, count in named.items() if count > 1]:
            raise ValueError(
                f"issuers: several providers have the issuer {twice[0]!r}, so a token wouldn't belong to one of them; "
                'set access_token_type to "refused" for those that are for login only'
            )
        opaque = [one.name for one in verified if one.takes_opaque_tokens]
        if len(opaque) > 1:
            raise ValueError(
                f"issuers: {' and '.join(opaque)} both have opaque tokens, which don't tell whose they are; one "
                "provider would see the tokens of another"
            )
        return self

    @property
    def providers(self) -> tuple[IssuerSettings, ...]:
        """All providers: the one of ``AUTH_ISSUER``, if set, then those of ``AUTH_ISSUERS``."""
        if self.issuer is None:
            return self.issuers
        own: dict[str, Any] = {name: getattr(self, name) for name in ProviderFields.model_fields}
        return (IssuerSettings(issuer=self.issuer, **own), *self.issuers)

    @property
    def has_login(self) -> bool:
        """Whether users log in by one of the providers."""
        return any(provider.has_login for provider in self.providers)


def has_providers(settings: AuthSettings) -> bool:
    """Whether any provider is configured."""
    return bool(settings.providers)


def find_address_problems(settings: AuthSettings, kernel: KernelSettings) -> Iterator[Problem | str]:
    """The addresses that production refuses: plain HTTP to this machine."""
    for provider in settings.providers:
        named = {"issuer": provider.issuer.replace(TENANT, "tenant"), **provider.addresses}
        for name, url in named.items():
            try:
                check_address(url, provider.plain_http_hosts, allow_loopback=False)
            except ValueError:
                yield from kernel.refuse_in_production(
                    f"The provider {provider.name!r} is reached by plain HTTP ({name})",
                    f"Use https, or name the host in {settings.variable('plain_http_hosts')}.",
                )


def _check_issuer(value: str) -> str:
    plain = value.replace(TENANT, "tenant", 1)
    if "{" in plain or "}" in plain:
        raise ValueError(f"may have {TENANT} once, and no other placeholder")
    parse_address(plain)
    if "?" in plain:
        raise ValueError("has a query, which no issuer may have (OpenID Connect Discovery, section 3)")
    return value
