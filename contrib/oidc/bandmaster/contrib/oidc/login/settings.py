"""Settings of login."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from bandmaster.contrib.oidc.login.addresses import find_origin
from bandmaster.contrib.oidc.settings import AuthSettings
from bandmaster.kernel import Settings

_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_MaybeSeconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]

# RFC 6265, 4.1.1: the name of a cookie is a token.
_COOKIE_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")


class LoginSettings(Settings):
    """Settings of login, read from variables that begin with ``AUTH_``. All times are in seconds."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="AUTH_")

    session_lifetime: Annotated[float, Field(gt=0, le=10 * 365 * 86_400)] = Field(
        default=12 * 60 * 60, description="Seconds after which a session ends and its user logs in again."
    )
    session_cookie: str = Field(
        default="session",
        description="The name of the session's cookie; with an https public_url, __Host- comes before it.",
    )
    login_timeout: Annotated[float, Field(gt=0, le=600)] = Field(
        default=600, description="Seconds that a user has for a login at the provider, 600 at most."
    )
    pending_logins: Annotated[int, Field(ge=1, le=10)] = Field(
        default=5, description="How many logins one browser may have begun and not finished; the oldest goes first."
    )
    after_login: str = Field(
        default="/", description="The path, below public_url, for a login that names no return_to."
    )
    after_logout: str = Field(default="/", description="The path, below public_url, after a logout.")
    trusted_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Origins beside our own whose pages may send the session's cookie with requests that change "
        "something, and with WebSockets: https://app.example.",
    )
    refresh_skew: _MaybeSeconds = Field(
        default=60,
        description="Seconds before an access token expires from which it is refreshed; a third of the token's "
        "lifetime at the most.",
    )
    refresh_jitter: _MaybeSeconds = Field(
        default=30, description="Up to so many more seconds, different for each session, so that refreshes spread."
    )
    refresh_backoff: _Seconds = Field(
        default=5, description="Seconds without a further try after a refresh that failed and ended no session."
    )
    token_timeout: _Seconds = Field(
        default=30,
        description="Seconds for a call of the provider's token or userinfo endpoint. A refresh that is given up may "
        "have used up its refresh token, so don't be stingy.",
    )
    websocket_check: _Seconds = Field(
        default=30,
        description="Seconds between checks whether the sessions of open WebSockets still hold; those that end in this "
        "process are noticed at once.",
    )

    @field_validator("session_cookie")
    @classmethod
    def _check_cookie_name(cls, value: str) -> str:
        if not _COOKIE_NAME.fullmatch(value):
            raise ValueError("expected the name of a cookie: letters, digits and signs such as - and _, 64 at most")
        if value.lower().startswith(("__host-", "__secure-")):
            raise ValueError("the prefix comes by itself where public_url is https; leave it out")
        return value

    @field_validator("after_login", "after_logout")
    @classmethod
    def _check_path(cls, value: str) -> str:
        path = value if value.startswith("/") else f"/{value}"
        if path.startswith("//") or "://" in path or "\\" in path or not path.isprintable():
            raise ValueError("expected a path such as /orders, below the public address")
        return path

    @field_validator("trusted_origins")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            parts = urlsplit(each)
            if parts.scheme not in ("http", "https") or f"{parts.scheme}://{parts.netloc}".lower() != each:
                raise ValueError(
                    f"{each!r} is no origin; it has a scheme, a host and perhaps a port: https://app.example"
                )
            if find_origin(each) != each:
                raise ValueError(f"{each!r} isn't as browsers write it; leave out the port that the scheme has anyway")
        return value


def is_login_on(auth: AuthSettings, _login: LoginSettings) -> bool:
    """Whether users can log in at some provider: the condition of every part of the login.

    The settings of the login are read in any case, so that ``bandmaster check`` knows which of them have no effect.
    """
    return auth.has_login
