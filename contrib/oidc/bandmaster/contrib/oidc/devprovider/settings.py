"""Settings of the provider for development."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator
from pydantic_settings import SettingsConfigDict

from bandmaster.kernel import Settings

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
"""Names and addresses that never leave the machine."""

Claim = bool | int | str | tuple[str, ...]
"""The value of a claim."""


class DevUser(BaseModel):
    """Somebody who can log in at the provider for development."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    subject: Annotated[str, StringConstraints(min_length=1, max_length=255)] = Field(
        description="The sub claim, and the name on the login page."
    )
    scopes: tuple[str, ...] | None = Field(
        default=None, description="The scopes that the user may grant; unset: whatever an application asks for."
    )
    claims: Mapping[str, Claim] = Field(
        default={}, description="Further claims of the ID token and of the userinfo endpoint, such as groups."
    )


class DevProviderSettings(Settings):
    """Settings of the provider for development, read from variables that begin with ``AUTH_DEV_PROVIDER``."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="AUTH_")

    dev_provider: str | None = Field(
        default=None,
        description="Where the provider for development listens, and its issuer: http://127.0.0.1:8001. Unset: there "
        "is none. Anyone may log in there, so it needs BANDMASTER_ENVIRONMENT=development or test.",
    )
    dev_provider_users: tuple[DevUser, ...] = Field(
        default=(DevUser(subject="alice"), DevUser(subject="bob")),
        min_length=1,
        description="The users, as a JSON list of objects with a subject, and optionally scopes and claims.",
    )
    dev_provider_token_seconds: Annotated[int, Field(ge=1, le=86400)] = Field(
        default=900, description="Seconds until an access token and an ID token of this provider expire."
    )

    @field_validator("dev_provider", mode="after")
    @classmethod
    def _check_address(cls, value: str | None) -> str | None:
        if value is not None:
            parts = urlsplit(value)
            if parts.hostname not in LOOPBACK_HOSTS:
                raise ValueError(f"must be on this machine: its host is one of {', '.join(sorted(LOOPBACK_HOSTS))}")
            if parts.scheme != "http" or parts.port in (None, 0) or value != f"http://{parts.netloc}":
                raise ValueError("must be an address of the form http://127.0.0.1:8001, without a path")
        return value

    @field_validator("dev_provider_users", mode="after")
    @classmethod
    def _check_subjects(cls, value: tuple[DevUser, ...]) -> tuple[DevUser, ...]:
        subjects = [user.subject for user in value]
        if repeated := sorted({subject for subject in subjects if subjects.count(subject) > 1}):
            raise ValueError(f"two users have the subject {repeated[0]!r}")
        return value
