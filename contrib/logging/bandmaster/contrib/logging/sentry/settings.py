"""The settings of the report of errors to Sentry."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from bandmaster.contrib.logging.settings import Level
from bandmaster.kernel import Settings

_PROJECT = re.compile(r".*/[A-Za-z0-9_-]+")


class SentrySettings(Settings):
    """Settings of the report of errors, read from variables that begin with ``SENTRY_``. All times are in seconds."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="SENTRY_")

    dsn: SecretStr | None = Field(
        default=None,
        description="Where errors are sent: https://KEY@HOST/PROJECT. Without a value no error is sent, and the extra "
        "isn't needed.",
    )
    environment: str | None = Field(
        default=None, description="The environment that events name; unset: BANDMASTER_ENVIRONMENT."
    )
    release: str | None = Field(default=None, description="The release that events name, such as shop@1.2.0.")
    level: Level = Field(
        default="error",
        description="The least level at which a log event without an exception, or one that caught an exception, "
        "becomes an event of Sentry.",
    )
    sample_rate: Annotated[float, Field(ge=0, le=1)] = Field(
        default=1.0, description="The share of the errors that is sent, from 0 to 1."
    )
    breadcrumbs: Annotated[int, Field(ge=0, le=100)] = Field(
        default=50,
        description="How many of the last log events of a request, connection or task are sent with an error.",
    )
    breadcrumb_level: Level = Field(default="info", description="The least level of the log events that are sent so.")
    source_lines: bool = Field(
        default=True, description="Whether an event shows the lines of the program around each place of a traceback."
    )
    flush_timeout: Annotated[float, Field(gt=0, le=60)] = Field(
        default=2.0, description="Seconds that the stop waits for events that haven't been sent yet."
    )

    @field_validator("dsn")
    @classmethod
    def _check_dsn(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value().strip():
            return None
        # The text of an error doesn't repeat the value, in which there is a key.
        try:
            parts = urlsplit(value.get_secret_value().strip())
            is_valid = parts.scheme in ("http", "https") and parts.username and parts.hostname and (parts.port or 1)
        except ValueError:
            is_valid = False
            parts = None
        if parts is None or not is_valid or not _PROJECT.fullmatch(parts.path):
            raise ValueError("expected https://KEY@HOST/PROJECT, as Sentry shows it among the keys of a project")
        return SecretStr(value.get_secret_value().strip())

    @property
    def is_enabled(self) -> bool:
        """Whether errors are sent."""
        return self.dsn is not None


def has_dsn(settings: SentrySettings) -> bool:
    """Whether errors are sent: a DSN is set."""
    return settings.is_enabled
