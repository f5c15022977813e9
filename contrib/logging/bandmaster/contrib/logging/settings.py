"""The settings of the log."""

from __future__ import annotations

import logging
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from bandmaster.kernel import KernelSettings, NamedValues, Redactor, Settings


def _parse_word(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


Level: TypeAlias = Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_parse_word)]
_Names: TypeAlias = Annotated[tuple[str, ...], NoDecode]


class LogSettings(Settings):
    """Settings of the log, read from variables that begin with ``LOG_``. All times are in seconds."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="LOG_")

    format: Annotated[Literal["auto", "console", "json"], BeforeValidator(_parse_word)] = Field(
        default="auto",
        description="console is for people, json for programs; auto: json in production and off a terminal, else "
        "console. Unset: BANDMASTER_LOG_FORMAT.",
    )
    level: Level | None = Field(
        default=None,
        description="The least level that is logged: debug, info, warning, error or critical; unset: "
        "BANDMASTER_LOG_LEVEL.",
    )
    levels: NamedValues[Level] = Field(
        default={},
        description="The least levels of single loggers and of those below them: "
        "sqlalchemy.engine=info,shop.billing=debug.",
    )
    stream: Annotated[Literal["stderr", "stdout"], BeforeValidator(_parse_word)] = Field(
        default="stderr", description="The stream that the log is written to: stderr or stdout."
    )
    no_color: str = Field(
        default="",
        validation_alias="NO_COLOR",
        description="With any value, text on a terminal has no colours (no-color.org).",
    )
    take_over: Annotated[Literal["auto", "always", "never"], BeforeValidator(_parse_word)] = Field(
        default="auto",
        description="Whether the log of the whole process is configured while the application runs; auto: yes, except "
        "in a test run of pytest, whose caplog has the records.",
    )

    max_event_bytes: Annotated[int, Field(ge=1024, le=1024 * 1024)] = Field(
        default=16 * 1024,
        description="The most bytes of an event, its newline included; longer texts are cut. Container runtimes split "
        "lines of more than 16 KiB.",
    )
    buffer_bytes: Annotated[int, Field(ge=64 * 1024)] = Field(
        default=4 * 1024 * 1024,
        description="The most bytes of events that wait for a slow reader. When they are used up, events are dropped "
        "and counted; the last quarter is for warnings and errors.",
    )
    flush_timeout: Annotated[float, Field(gt=0, le=60)] = Field(
        default=2.0, description="Seconds that the stop waits for events that haven't been written yet."
    )

    repeat_limit: PositiveInt | None = Field(
        default=50,
        description="How many equal warnings or errors are logged in each repeat_interval; the first one afterwards "
        "carries the number of those that were left out. 'none' for no limit.",
    )
    repeat_interval: PositiveFloat = Field(default=10.0, description="Seconds for which equal events are counted.")

    redact_keys: _Names = Field(
        default=(),
        description="Further keys whose values are secrets, as words of the key with * for any characters: "
        "patient,iban*. The known ones, such as password and api_key, are always redacted.",
    )
    redact_exempt: _Names = Field(
        default=(), description="Keys whose values are shown although their names look like those of secrets."
    )
    redact_depth: Annotated[int, Field(ge=1, le=32)] = Field(
        default=8, description="How deep values inside each other are shown."
    )
    redact_items: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=100, description="The most items of a list or an object that are shown."
    )
    redact_text: Annotated[int, Field(ge=64, le=1024 * 1024)] = Field(
        default=8192, description="The most characters of a text that are shown. Tracebacks have max_event_bytes."
    )

    @field_validator("levels")
    @classmethod
    def _check_names(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if name.lower() == "root":
                raise ValueError("the level of every logger is set by level, not by the name root")
        return value

    def make_redactor(self) -> Redactor:
        """The redactor of values that these settings describe."""
        return Redactor(
            patterns=self.redact_keys,
            exempt=self.redact_exempt,
            max_depth=self.redact_depth,
            max_items=self.redact_items,
            max_text=self.redact_text,
        )

    def choose_format(self, kernel: KernelSettings, *, is_terminal: bool) -> Literal["console", "json"]:
        """The format: that of ``LOG_FORMAT``, or else of ``BANDMASTER_LOG_FORMAT``."""
        form = self.format if "format" in self.model_fields_set else kernel.log_format
        if form == "auto":
            return "console" if is_terminal and not kernel.is_production else "json"
        return form

    def choose_level(self, kernel: KernelSettings) -> int:
        """The least level, as a number of the standard library: of ``LOG_LEVEL``, or else of the kernel's settings."""
        return find_level(self.level or kernel.least_log_level)


def find_level(name: str) -> int:
    """The number that the standard library has for a level."""
    return logging.getLevelNamesMapping()[name.upper()]
