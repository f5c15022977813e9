"""The settings of the kernel itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bandmaster.kernel.contributions.model import OnStartFailure
from bandmaster.kernel.settings.named_values import NamedValues
from bandmaster.kernel.text import render_duration


def _parse_number(value: object) -> object:
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else value


_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_SomeSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Names = Annotated[frozenset[str], NoDecode]
_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
# pydantic compares a literal without converting the input, and the value of a variable is text.
_CloseCode = Annotated[Literal[1001, 1012], BeforeValidator(_parse_number)]


class KernelSettings(BaseSettings):
    """Settings of the kernel, read from variables that begin with ``BANDMASTER_``. All times are in seconds."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="BANDMASTER_", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    environment: _Text = Field(
        default="development", description="The environment of the process; 'production' refuses debug aids."
    )
    debug: bool = Field(default=False, description="Show tracebacks to clients. Refused in production.")
    title: str | None = Field(default=None, description="The application's title; unset: the name of its distribution.")
    version: str | None = Field(
        default=None, description="The application's version; unset: the version of its distribution."
    )
    distribution: str | None = Field(
        default=None, description="The distribution of the application, for title and version."
    )

    plugins: Literal["auto", "allowlist", "locked"] = Field(
        default="auto",
        description="The installed parts to load: all, those that are allowed, or exactly those in the lock file.",
    )
    allow: _Names = Field(default=frozenset(), description="Distributions whose parts may load with plugins=allowlist.")
    disable: _Names = Field(default=frozenset(), description="Names of parts to leave out, comma separated.")
    lock_file: Path = Field(
        default=Path("bandmaster.lock"), description="The file that `bandmaster lock` writes and plugins=locked reads."
    )

    start_timeout: _SomeSeconds = Field(
        default=30, description="Seconds that a start may take if the component declares no deadline."
    )
    stop_timeout: _SomeSeconds | None = Field(
        default=None,
        description="Seconds that a stop may take if the component declares no deadline; unset: an equal share of the "
        "termination_grace that draining leaves, 10 at most.",
    )
    start_timeouts: NamedValues[_SomeSeconds] = Field(
        default={},
        description="Seconds that the starts of single components may take, by name, in place of what they declare: "
        "database=60,cache=5.",
    )
    stop_timeouts: NamedValues[_SomeSeconds] = Field(
        default={},
        description="Seconds that the stops of single components may take, by name, in place of what they declare: "
        "database=20,cache=2.",
    )
    on_start_failure: NamedValues[OnStartFailure] = Field(
        default={},
        description="The reactions to failed starts of single components, by name, in place of what they declare, such "
        "as database=retry,cache=degrade: stop rolls the start back, retry tries again until the component's start "
        "timeout, degrade serves without the component.",
    )
    abandon_after: _SomeSeconds = Field(
        default=2,
        description="Seconds past the deadline until the kernel gives up a component that ignores cancellation.",
    )
    drain_delay: _Seconds = Field(
        default=0,
        description="Seconds that requests are still accepted after the stop signal, while readiness fails already.",
    )
    drain_timeout: _Seconds = Field(default=10, description="Seconds that requests in flight may take to end.")
    termination_grace: _SomeSeconds = Field(
        default=30,
        description="Seconds from the stop signal until the platform kills the process; Kubernetes' default is 30.",
    )

    processes: PositiveInt = Field(default=1, description="The number of processes that share the limits.")
    limits: Mapping[str, NonNegativeInt] = Field(
        default={}, description='The most that each shared server allows, as JSON: {"postgres": 97}.'
    )
    over_budget: Literal["refuse", "warn"] = Field(
        default="refuse", description="The reaction to a budget that exceeds its limit."
    )

    websocket_close_code: _CloseCode = Field(
        default=1001,
        description="The code that closes open WebSockets while draining: 1001 going away, 1012 service restart.",
    )
    mounted_lifespans: bool = Field(
        default=True, description="Run the lifespans of apps mounted in the host, once each."
    )
    serve_while_starting: bool = Field(
        default=False,
        description="Answer health checks, and all other requests with 503, before the start has completed.",
    )
    retry_after: PositiveInt = Field(default=5, description="Seconds in the Retry-After header of a 503.")
    health: bool = Field(default=True, description="Answer /livez, /readyz and /startupz.")
    health_details: bool | None = Field(
        default=None, description="Name the failing components in health answers; unset: outside production only."
    )
    timeline: bool = Field(default=True, description="Keep the last start's timeline for `bandmaster timeline`.")

    @field_validator("allow", "disable", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        if isinstance(value, str):
            if value.lstrip().startswith(("[", "{")):
                raise ValueError("expected names with commas between them, not JSON")
            return frozenset(part.strip() for part in value.split(",") if part.strip())
        return value

    @model_validator(mode="after")
    def _check_together(self) -> KernelSettings:
        if self.debug and self.is_production:
            raise ValueError("BANDMASTER_DEBUG is refused while BANDMASTER_ENVIRONMENT is production")
        draining = self.drain_delay + self.drain_timeout
        if draining >= self.termination_grace:
            raise ValueError(
                f"BANDMASTER_DRAIN_DELAY + BANDMASTER_DRAIN_TIMEOUT = {render_duration(draining)} leaves nothing of "
                f"BANDMASTER_TERMINATION_GRACE = {render_duration(self.termination_grace)} for the stop; raise the "
                "grace (and the platform's), or drain for less long"
            )
        return self

    @property
    def is_production(self) -> bool:
        """Whether debug aids are refused."""
        return self.environment.lower() in ("production", "prod")

    @property
    def shows_details(self) -> bool:
        """Whether answers to health checks name components."""
        return not self.is_production if self.health_details is None else self.health_details

    @property
    def left_for_stops(self) -> float:
        """Seconds of the grace that remain for the stop after draining."""
        return self.termination_grace - self.drain_delay - self.drain_timeout
