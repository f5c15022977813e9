"""Settings: the kernel's own, how any part's are read from the environment, how they are shown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    Secret,
    SecretBytes,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from bandmaster.kernel.errors import Problem
from bandmaster.kernel.wording import duration

_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
MASK = "**********"
_Names = Annotated[frozenset[str], NoDecode]


class KernelSettings(BaseSettings):
    """Settings of the kernel, read from variables that begin with ``BANDMASTER_``. All times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="BANDMASTER_", extra="ignore", frozen=True, hide_input_in_errors=True)

    environment: str = Field("development", description="Where this runs; 'production' refuses debug aids.")
    debug: bool = Field(False, description="Show tracebacks to clients. Refused in production.")
    title: str | None = Field(None, description="The application's title; else its distribution's name.")
    version: str | None = Field(None, description="The application's version; else its distribution's.")
    distribution: str | None = Field(
        None, description="The distribution that the application is, for title and version."
    )

    plugins: Literal["auto", "allowlist", "locked"] = Field(
        "auto", description="Which installed parts are loaded: all, those allowed, or exactly those in the lock file."
    )
    allow: _Names = Field(frozenset(), description="Distributions whose parts may load with plugins=allowlist.")
    disable: _Names = Field(frozenset(), description="Names of parts to leave out, comma separated.")
    lock_file: Path = Field(
        Path("bandmaster.lock"), description="What `bandmaster lock` writes and plugins=locked reads."
    )

    start_timeout: PositiveFloat = Field(30, description="Seconds for a start that declares no deadline of its own.")
    stop_timeout: PositiveFloat | None = Field(
        None,
        description="Seconds for a stop that declares no deadline of its own; unset: an equal share of what "
        "termination_grace leaves after draining, 10 at most.",
    )
    abandon_after: PositiveFloat = Field(
        2,
        description="Seconds past its deadline after which a component that ignores cancellation is given up by name.",
    )
    drain_delay: _Seconds = Field(
        0,
        description="Seconds that new requests are still accepted after the stop signal, while readiness already fails.",
    )
    drain_timeout: _Seconds = Field(10, description="Seconds that requests in flight may take to end.")
    termination_grace: PositiveFloat = Field(
        30, description="Seconds from the stop signal until the platform kills the process; Kubernetes' default is 30."
    )

    processes: PositiveInt = Field(1, description="How many processes share the budgets of the plan.")
    limits: Mapping[str, int] = Field({}, description='What a shared server allows, as JSON: {"postgres": 97}.')
    over_budget: Literal["refuse", "warn"] = Field(
        "refuse", description="What follows when a budget exceeds its limit."
    )

    websocket_close_code: Literal[1001, 1012] = Field(
        1001, description="What open WebSockets are closed with when draining: 1001 going away, 1012 service restart."
    )
    mounted_lifespans: bool = Field(True, description="Run the lifespans of apps mounted in the host, once each.")
    serve_while_starting: bool = Field(
        False, description="Answer health checks, and 503 to all else, before the start has completed."
    )
    retry_after: PositiveInt = Field(5, description="Seconds in the Retry-After header of a 503.")
    health: bool = Field(True, description="Answer /livez, /readyz and /startupz.")
    health_details: bool | None = Field(
        None, description="Name the failing components in health answers; unset: outside production only."
    )
    timeline: bool = Field(True, description="Keep the last start's timeline for `bandmaster timeline`.")

    @field_validator("allow", "disable", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return frozenset(part.strip() for part in value.split(",") if part.strip())
        return value

    @model_validator(mode="after")
    def _agree(self) -> KernelSettings:
        if self.debug and self.is_production:
            raise ValueError("debug: refused while environment is production")
        draining = self.drain_delay + self.drain_timeout
        if draining >= self.termination_grace:
            raise ValueError(
                f"termination_grace: drain_delay + drain_timeout = {duration(draining)} leaves nothing of "
                f"{duration(self.termination_grace)} for the stop; raise it (and the platform's), or drain for less long"
            )
        return self

    @property
    def is_production(self) -> bool:
        """Whether debug aids must stay off."""
        return self.environment.lower() in ("production", "prod")

    @property
    def shows_details(self) -> bool:
        """Whether health answers name components."""
        return not self.is_production if self.health_details is None else self.health_details

    @property
    def left_for_stops(self) -> float:
        """Seconds that draining leaves of the grace."""
        return self.termination_grace - self.drain_delay - self.drain_timeout


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of a settings model, as people set it."""

    variable: str
    kind: str
    description: str
    required: bool
    default: str
    secret: bool


def read_settings(kinds: Iterable[type[BaseSettings]]) -> tuple[dict[type[Any], BaseSettings], list[Problem]]:
    """One instance of each settings type, read from the environment, and a problem for each that can't be had."""
    values: dict[type[Any], BaseSettings] = {}
    problems: list[Problem] = []
    for kind in kinds:
        try:
            values[kind] = kind()
        except ValidationError as error:
            problems += _from_validation(kind, error)
        except SettingsError as error:
            problems.append(Problem(f"{kind.__name__} can't be read: {error}.", subject=kind.__name__))
    return values, problems


def describe_settings(kind: type[BaseSettings]) -> list[Setting]:
    """Every field of a settings type, with the variable that sets it."""
    return [
        Setting(
            variable=variable_of(kind, name),
            kind=_kind_text(field.annotation),
            description=field.description or "",
            required=field.is_required(),
            default="" if field.is_required() else _default_text(field),
            secret=_is_secret(field.annotation),
        )
        for name, field in kind.model_fields.items()
    ]


def current_value(settings: BaseSettings, name: str) -> str:
    """A field's value as text, a secret masked."""
    value = getattr(settings, name)
    return MASK if _holds_secret(value) else _text(value)


def variable_of(kind: type[BaseSettings], field: str) -> str:
    """The environment variable that sets a field."""
    info = kind.model_fields[field]
    alias = info.validation_alias
    if alias is not None:
        first = alias if isinstance(alias, str) else getattr(alias, "choices", [alias])[0]
        return str(first).upper()
    return f"{kind.model_config.get('env_prefix', '')}{field}".upper()


def _from_validation(kind: type[BaseSettings], error: ValidationError) -> list[Problem]:
    problems = []
    # Input and context are left out: they may hold a secret.
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        location = [str(part) for part in detail["loc"]]
        said = detail["msg"].removeprefix("Value error, ").rstrip(".")
        if detail["type"] == "missing" and location:
            variable = _variable_at(kind, location)
            problems.append(
                Problem(
                    f"{variable} is not set ({kind.__name__} needs it).",
                    f"Set it in the environment, or pass overrides={{{kind.__name__}: {kind.__name__}(...)}}.",
                    kind.__name__,
                )
            )
        else:
            where = _variable_at(kind, location) if location else kind.__name__
            problems.append(Problem(f"{where} is wrong ({kind.__name__}): {said}.", subject=kind.__name__))
    return problems


def _variable_at(kind: type[BaseSettings], location: list[str]) -> str:
    field, *inner = location
    # pydantic reports an aliased field by the alias.
    first = variable_of(kind, field) if field in kind.model_fields else field.upper()
    return ".".join([first, *inner])


def _kind_text(annotation: Any) -> str:
    text = annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
    return text.replace("typing.", "").replace("pydantic.types.", "")


def _default_text(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return _text(field.get_default(call_default_factory=True, validated_data={}))
    return MASK if _holds_secret(field.default) else _text(field.default)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (frozenset, set)):
        return ",".join(sorted(map(str, value)))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (Mapping, list, tuple)):
        return json.dumps(value, default=str)
    return str(value)


def _is_secret(annotation: Any) -> bool:
    kinds = [annotation, *get_args(annotation)]
    return any(isinstance(kind, type) and issubclass(kind, (Secret, SecretStr, SecretBytes)) for kind in kinds)


def _holds_secret(value: object) -> bool:
    if isinstance(value, (Secret, SecretStr, SecretBytes)):
        return True
    # A URL's password is a secret wherever the URL stands.
    return "://" in str(value) and "@" in str(value)
