"""The settings of the command line."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from bandmaster.kernel.settings.base import Settings


class TargetSettings(Settings):
    """The application that commands work on, read from variables that begin with ``BANDMASTER_``."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="BANDMASTER_")

    app: str | None = Field(
        default=None,
        description="The application of commands that name none, as module:attribute; unset: `app` in the table "
        "[tool.bandmaster] of the nearest pyproject.toml, else everything installed.",
    )
