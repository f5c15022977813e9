"""The settings of the kernel itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    model_validator,
)
from pydantic_settings import NoDecode, SettingsConfigDict

from bandmaster.kernel.contributions.model import OnStartFailure
from bandmaster.kernel.errors import Problem
from bandmaster.kernel.settings.base import Settings
from bandmaster.kernel.settings.named_values import NamedValues
from bandmaster.kernel.text import find_nearest, list_names, render_duration


def _parse_word(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _check_path(path: str) -> str:
    if path and not path.startswith("/"):
        raise ValueError("expected a path that begins with /, or nothing")
    return path


_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_SomeSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Names = Annotated[frozenset[str], NoDecode]
_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
_Path = Annotated[str, AfterValidator(_check_path)]
_LogFormat = Annotated[Literal["auto", "console", "json"], BeforeValidator(_parse_word)]
_LogLevel = Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_parse_word)]


MountedLifespans: TypeAlias = bool | Literal["auto"]
"""Which mounted apps are started: all that the host doesn't start, those also where that is unclear, or none."""

ENVIRONMENTS: Mapping[str, frozenset[str]] = {
    "development": frozenset({"development", "dev", "local"}),
    "test": frozenset({"test", "testing", "ci"}),
    "staging": frozenset({"staging", "stage"}),
    "production": frozenset({"production", "prod"}),
}
"""The environments that are known, each with the names that it goes by."""


class KernelSettings(Settings):
    """Settings of the kernel, read from variables that begin with ``BANDMASTER_``. All times are in seconds."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="BANDMASTER_")

    environment: _Text = Field(
        default="development",
        description="The environment of the process: development, test, staging or production. Production refuses "
        "debug aids and embedded stand-ins; staging warns of what production would refuse.",
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

    websocket_close_code: Literal[1001, 1012] = Field(
        default=1001,
        description="The code that closes open WebSockets while draining: 1001 going away, 1012 service restart.",
    )
    mounted_lifespans: MountedLifespans = Field(
        default="auto",
        description="Run the lifespans of apps mounted in the host, once each. 'auto' leaves out those that the host's "
        "own lifespan starts, or may have started; 'true' only those that it is certain to start.",
    )
    serve_while_starting: bool = Field(
        default=False,
        description="Answer health checks, and all other requests with 503, before the start has completed.",
    )
    retry_after: PositiveInt = Field(default=5, description="Seconds in the Retry-After header of a 503.")
    health: bool = Field(default=True, description="Answer health checks.")
    live_path: _Path = Field(
        default="/livez", description="The path of the health check for liveness; empty: no such check."
    )
    ready_path: _Path = Field(
        default="/readyz", description="The path of the health check for readiness; empty: no such check."
    )
    startup_path: _Path = Field(
        default="/startupz", description="The path of the health check for the start; empty: no such check."
    )
    health_details: bool | None = Field(
        default=None, description="Name the failing components in health answers; unset: outside production only."
    )
    log_format: _LogFormat = Field(
        default="auto",
        description="The format of the log under the launcher: console is for people, json for programs; auto is "
        "console on a terminal and json elsewhere.",
    )
    log_level: _LogLevel | None = Field(
        default=None,
        description="The least level that is logged under the launcher: debug, info, warning, error or critical; "
        "unset: info, and debug while BANDMASTER_DEBUG is set.",
    )
    timeline: bool = Field(default=True, description="Keep the last start's timeline for `bandmaster timeline`.")
    other_variables: _Names = Field(
        default=frozenset(),
        description="Variables that other programs read, as names or globs with commas between them, so that "
        "`bandmaster check` and `bandmaster config` don't warn of them: WEB_CONCURRENCY,REDIS_*.",
    )

    @model_validator(mode="after")
    def _check_together(self) -> KernelSettings:
        if self.debug and self.is_production:
            raise ValueError("BANDMASTER_DEBUG is refused while BANDMASTER_ENVIRONMENT is production")
        paths = [path for path in (self.live_path, self.ready_path, self.startup_path) if path]
        if len(set(paths)) < len(paths):
            raise ValueError(
                "BANDMASTER_LIVE_PATH, BANDMASTER_READY_PATH and BANDMASTER_STARTUP_PATH must differ from each other; "
                "leave one empty to switch its check off"
            )
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
        return self.environment.lower() in ENVIRONMENTS["production"]

    @property
    def is_staging(self) -> bool:
        """Whether the refusals of production are warnings."""
        return self.environment.lower() in ENVIRONMENTS["staging"]

    def refuse_in_production(self, message: str, hint: str = "") -> Iterator[Problem | str]:
        """A finding for the check of a component: a problem in production, a warning in staging, elsewhere nothing."""
        if self.is_production:
            yield Problem(f"{message}, which is refused in production.", hint)
        elif self.is_staging:
            yield f"{message}, which production refuses. {hint}".rstrip()

    def find_warnings(self) -> Iterator[str]:
        """Warnings about settings that are accepted, but may have another meaning than intended."""
        known = {name: canonical for canonical, names in ENVIRONMENTS.items() for name in names}
        if self.environment.lower() not in known:
            near = find_nearest(self.environment, known)
            hint = f" Did you mean {known[near]!r}?" if near is not None else ""
            yield (
                f"{self.variable('environment')} is {self.environment!r}, which is none of {list_names(ENVIRONMENTS)}; "
                f"nothing is refused there as it is in production.{hint}"
            )
        if self.debug and self.is_staging:
            yield f"{self.variable('debug')} is on, which production refuses."

    @property
    def least_log_level(self) -> str:
        """The least level that is logged under the launcher."""
        return self.log_level or ("debug" if self.debug else "info")

    @property
    def shows_details(self) -> bool:
        """Whether answers to health checks name components."""
        return not self.is_production if self.health_details is None else self.health_details

    @property
    def left_for_stops(self) -> float:
        """Seconds of the grace that remain for the stop after draining."""
        return self.termination_grace - self.drain_delay - self.drain_timeout
