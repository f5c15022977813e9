"""Settings of who may call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from bandmaster.contrib.oidc.request_params import OF_AUTHORIZATION, list_public, refuse_reserved
from bandmaster.kernel import Settings

_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Names = Annotated[tuple[str, ...], NoDecode]

_OF_DOCS = OF_AUTHORIZATION | {"client_secret", "response_mode", "scope"}
"""Parameters that the docs page sets itself, or that nobody may see."""


class AccessSettings(Settings):
    """Settings of who may call, read from variables that begin with ``AUTH_``. All times are in seconds."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="AUTH_")

    known_scopes: _Names = Field(
        default=(),
        description="The scopes that this application knows; a route that requires another one is refused. Unset: any.",
    )
    without_revocations: Literal["refuse", "accept"] = Field(
        default="refuse",
        description="What happens to a token while the store of revoked tokens is away: refuse answers 503, accept "
        "lets revoked tokens in.",
    )
    websocket_end: bool = Field(
        default=True,
        description="Close WebSockets whose credential expires or is revoked, with code 3000.",
    )
    websocket_recheck: _Seconds = Field(
        default=60, description="Seconds between two checks of whether the credentials of open WebSockets are revoked."
    )
    first_message_timeout: _Seconds = Field(
        default=10, description="Seconds that a WebSocket has for sending the token as the first message."
    )
    dev_bypass: bool = Field(
        default=False,
        description="Let requests without a credential act as a developer. Refused unless BANDMASTER_ENVIRONMENT is "
        "set to development or test.",
    )
    dev_bypass_subject: str = Field(default="developer", min_length=1, description="Who such a request acts as.")
    dev_bypass_scopes: _Names = Field(default=("*",), description="The scopes of such a request; * for every scope.")
    docs_client_id: str | None = Field(
        default=None,
        description="The public client by which the docs page of a FastAPI host logs in, with the Authorize button; "
        "unset: the page asks for the client.",
    )
    docs_authorize_params: Mapping[str, str] | None = Field(
        default=None,
        description='Further parameters of the login of the docs page, as JSON: {"audience": "https://api.example"}. '
        "The page shows them. Unset: those of AUTH_AUTHORIZE_PARAMS that may be shown, if there is one provider.",
    )
    docs_scopes: _Names = Field(
        default=("openid",), description="The scopes that the docs page asks for besides those that routes require."
    )

    @field_validator("docs_authorize_params")
    @classmethod
    def _check_params(cls, value: Mapping[str, str] | None) -> Mapping[str, str] | None:
        if value is not None:
            refuse_reserved(value, _OF_DOCS)
        return value

    def choose_docs_params(self, provider: Mapping[str, str | SecretStr]) -> Mapping[str, str]:
        """The further parameters of the docs page's login; ``provider`` are those of the provider's own logins."""
        if self.docs_authorize_params is not None:
            return self.docs_authorize_params
        return {name: value for name, value in list_public(provider).items() if name not in _OF_DOCS}
