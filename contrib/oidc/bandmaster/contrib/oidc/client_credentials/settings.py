"""Settings of the tokens for calls to one other service."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, SecretStr, StringConstraints, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from bandmaster.contrib.oidc.request_params import RequestParams
from bandmaster.kernel import KernelSettings, Problem, Settings

_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_MaybeSeconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Names = Annotated[tuple[str, ...], NoDecode]
_Text = Annotated[str, StringConstraints(min_length=1, pattern=r"^[ -~]*$")]

_OF_THE_GRANT = frozenset(
    {"grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "scope"}
)


class ClientCredentialsSettings(Settings):
    """Settings of the tokens for calls to one other service. All times are in seconds.

    The variables begin with the name of the service and ``OAUTH_``: ``BILLING_OAUTH_TOKEN_URL`` for `billing`.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="OAUTH_")

    token_url: str = Field(description="The token endpoint of the provider: https://id.example/oauth/token.")
    plain_http_hosts: _Names = Field(
        default=(),
        description="Hosts that may be reached by plain HTTP; outside production this machine is one.",
    )
    client_id: _Text = Field(description="The client that the provider knows this application by.")
    client_secret: SecretStr = Field(description="The client's secret.")
    auth_method: Literal["client_secret_basic", "client_secret_post"] = Field(
        default="client_secret_basic", description="How the client authenticates, as the provider has registered it."
    )
    scopes: _Names = Field(default=(), description="The scopes to ask for. Empty: those that the provider gives.")
    params: RequestParams = Field(
        default={},
        description='Further parameters of the token request, as JSON: {"audience": "https://api.example"} for Auth0, '
        '{"resource": "https://api.example"} for RFC 8707.',
    )
    skew: _MaybeSeconds = Field(
        default=30, description="Seconds before its end at which a token is renewed, half of its lifetime at the most."
    )
    lifetime: _Seconds = Field(
        default=300, description="Seconds for which a token is used if the provider doesn't say how long it lasts."
    )
    refetch_cooldown: _MaybeSeconds = Field(
        default=5,
        description="Seconds after a token was fetched anew because a service had refused one, in which no further "
        "refusal has another one fetched.",
    )
    timeout: _Seconds = Field(default=10, description="Seconds for the provider to answer.")
    longest_pause: Annotated[float, Field(ge=1, allow_inf_nan=False)] = Field(
        default=30, description="The longest pause between two attempts to reach a provider that is away, in seconds."
    )

    @field_validator("token_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        _split_url(value)
        return value

    @field_validator("client_secret")
    @classmethod
    def _check_secret(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().strip():
            raise ValueError("is blank")
        return value

    @field_validator("scopes")
    @classmethod
    def _check_scopes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # RFC 6749, section 3.3.
        if not all(scope and all("!" <= sign <= "~" and sign not in '"\\' for sign in scope) for scope in value):
            raise ValueError("has a scope with a blank, or with a character that no scope may have")
        return value

    @field_validator("params")
    @classmethod
    def _check_params(cls, value: RequestParams) -> RequestParams:
        for name in value:
            if name.strip().lower() in _OF_THE_GRANT:
                raise ValueError(f"can't set {name!r}, which has a setting of its own")
        return value

    @model_validator(mode="after")
    def _check_scheme(self) -> Self:
        parts = _split_url(self.token_url)
        if parts.scheme != "https" and not (self._is_plain_host(parts) or _is_loopback(parts)):
            raise ValueError("token_url: isn't https, and its host isn't among plain_http_hosts")
        return self

    @property
    def is_for_development(self) -> bool:
        """Whether the provider is reached by plain HTTP on this machine, which no setting allows in so many words."""
        parts = _split_url(self.token_url)
        return parts.scheme != "https" and not self._is_plain_host(parts)

    def _is_plain_host(self, parts: SplitResult) -> bool:
        return parts.hostname in {host.lower().strip("[]") for host in self.plain_http_hosts}


def find_address_problems(settings: ClientCredentialsSettings, kernel: KernelSettings) -> Iterator[Problem]:
    """The problem of a provider that is reached without TLS in production."""
    if kernel.is_production and settings.is_for_development:
        yield Problem(
            f"{settings.variable('token_url')} isn't https, and this is production.",
            f"Use https, or name the host in {settings.variable('plain_http_hosts')}.",
        )


def _split_url(url: str) -> SplitResult:
    """The parts of an absolute URL.

    Raises:
        ValueError: the text isn't one. The message repeats nothing of the text.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("isn't a URL; expected https://...") from None
    is_clean = url.isascii() and url.isprintable() and not set(url) & set(" \\")
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_clean:
        raise ValueError("isn't a URL; expected https://...")
    if "@" in parts.netloc or parts.fragment:
        raise ValueError("has a user, a password or a fragment")
    return parts


def _is_loopback(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
