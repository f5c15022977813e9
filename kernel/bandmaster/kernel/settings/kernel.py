"""Settings: the kernel's own, how any part's are read from the environment, how they are shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, cast, get_args, get_origin

from pydantic import (
    AliasChoices,
    AliasPath,
    Field,
    NonNegativeInt,
    PositiveInt,
    Secret,
    SecretBytes,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from bandmaster.kernel.contributions.keys import type_name
from bandmaster.kernel.errors import PlanError, Problem
from bandmaster.kernel.text import duration

_S = TypeVar("_S", bound=BaseSettings)

MASK = "**********"

_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_SomeSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Names = Annotated[frozenset[str], NoDecode]
_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

# Fields that hold a secret by their name, for settings that don't say so by their type.
_SECRET = re.compile(
    r"(^|_)(password|passwd|passphrase|secret|token|api_?key|private_key|signing_key|secret_key)$", re.IGNORECASE
)


class KernelSettings(BaseSettings):
    """Settings of the kernel, read from variables that begin with ``BANDMASTER_``. All times are in seconds."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="BANDMASTER_", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    environment: _Text = Field("development", description="Where this runs; 'production' refuses debug aids.")
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

    start_timeout: _SomeSeconds = Field(30, description="Seconds for a start that declares no deadline of its own.")
    stop_timeout: _SomeSeconds | None = Field(
        None,
        description="Seconds for a stop that declares no deadline of its own; unset: an equal share of what "
        "termination_grace leaves after draining, 10 at most.",
    )
    abandon_after: _SomeSeconds = Field(
        2,
        description="Seconds past its deadline after which a component that ignores cancellation is given up by name.",
    )
    drain_delay: _Seconds = Field(
        0,
        description="Seconds that new requests are still accepted after the stop signal, while readiness already fails.",
    )
    drain_timeout: _Seconds = Field(10, description="Seconds that requests in flight may take to end.")
    termination_grace: _SomeSeconds = Field(
        30, description="Seconds from the stop signal until the platform kills the process; Kubernetes' default is 30."
    )

    processes: PositiveInt = Field(1, description="How many processes share the budgets of the plan.")
    limits: Mapping[str, NonNegativeInt] = Field(
        {}, description='What a shared server allows, as JSON: {"postgres": 97}.'
    )
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
            if value.lstrip().startswith(("[", "{")):
                raise ValueError("expected names with commas between them, not JSON")
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
            problems.append(_from_source(kind, error))
    return values, problems


def read_one(kind: type[_S]) -> _S:
    """A settings type, read from the environment.

    Raises:
        PlanError: it can't be had.
    """
    values, problems = read_settings([kind])
    if problems:
        raise PlanError(problems)
    read = values[kind]
    assert isinstance(read, kind)
    return read


def named_settings(base: type[_S], name: str, *, about: str, prefix: str | None = None) -> type[_S]:
    """A settings type like ``base``, for another component of its kind, read from variables of its own.

    They begin with ``prefix``; unless given, with the name and what those of ``base`` begin with: ``CACHE_REDIS_`` for
    ``cache``. ``about`` is whose settings they are, for the docstring.
    """
    words = name.replace("-", "_").replace(".", "_")
    prefix = f"{words}_{base.model_config.get('env_prefix', '')}".upper() if prefix is None else prefix
    namespace = {
        "__module__": base.__module__,
        "__doc__": f"Settings of {about}, read from variables that begin with ``{prefix}``.",
        "model_config": SettingsConfigDict(env_prefix=prefix),
    }
    return cast("type[_S]", type(f"{words.title().replace('_', '')}{base.__name__}", (base,), namespace))


def describe_settings(kind: type[BaseSettings]) -> list[Setting]:
    """Every field of a settings type, with the variable that sets it."""
    return [
        Setting(
            variable=variable_of(kind, name),
            kind=type_name(field.annotation),
            description=field.description or "",
            required=field.is_required(),
            default="" if field.is_required() else _shown(name, _default(field)),
            secret=_is_secret(field.annotation) or bool(_SECRET.search(name)),
        )
        for name, field in kind.model_fields.items()
    ]


def current_value(settings: BaseSettings, name: str) -> str:
    """A field's value as text, a secret masked."""
    return _shown(name, getattr(settings, name))


def variable_of(kind: type[BaseSettings], field: str) -> str:
    """The environment variable that sets a field."""
    alias = kind.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        alias = alias.choices[0]
    if isinstance(alias, AliasPath):
        alias = str(alias.path[0])
    name = f"{kind.model_config.get('env_prefix', '')}{field}" if alias is None else alias
    return _cased(kind, name)


def _cased(kind: type[BaseSettings], name: str) -> str:
    return name if kind.model_config.get("case_sensitive") else name.upper()


def _from_source(kind: type[BaseSettings], error: SettingsError) -> Problem:
    # The exception has no fields, and its cause shows the value.
    field = re.search(r'field "(\w+)"', str(error))
    if field is None or field[1] not in kind.model_fields:
        return Problem(f"{kind.__name__} can't be read: {error}.", subject=kind.__name__)
    variable = variable_of(kind, field[1])
    return Problem(f"{variable} is wrong ({kind.__name__}): it isn't valid JSON.", subject=kind.__name__)


def _from_validation(kind: type[BaseSettings], error: ValidationError) -> list[Problem]:
    problems = []
    for detail in error.errors(include_url=False, include_context=False):
        location = [str(part) for part in detail["loc"]]
        where = _variable_at(kind, location) if location else kind.__name__
        if detail["type"] == "missing" and location:
            problems.append(
                Problem(
                    f"{where} is not set ({kind.__name__} needs it).",
                    f"Set it in the environment, or pass overrides={{{kind.__name__}: {kind.__name__}(...)}}.",
                    kind.__name__,
                )
            )
        else:
            said = detail["msg"].removeprefix("Value error, ").rstrip(".")
            # A validator may have written the input, which may be a secret, into its message.
            for hidden in _hidden(kind, detail["input"], whole=not location):
                said = said.replace(hidden, MASK)
            problems.append(Problem(f"{where} is wrong ({kind.__name__}): {said}.", subject=kind.__name__))
    return problems


_SHORTEST_HIDDEN = 4
"""Characters; shorter inputs, such as a digit, stand in messages for other reasons."""


def _hidden(kind: type[BaseSettings], given: object, *, whole: bool) -> list[str]:
    """The texts that a message must not show: the input of one field; of the whole model, what its fields keep secret."""
    if whole:
        values = given if isinstance(given, Mapping) else {}
        found = [text for name, value in values.items() if _keeps_secret(kind, name, value) for text in _texts(value)]
    else:
        found = list(_texts(given))
    return sorted((text for text in found if len(text) >= _SHORTEST_HIDDEN), key=len, reverse=True)


def _keeps_secret(kind: type[BaseSettings], name: str, value: object) -> bool:
    field = kind.model_fields.get(name)
    typed = field is not None and _is_secret(field.annotation)
    return typed or bool(_SECRET.search(name)) or _holds_secret(value)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, (Secret, SecretStr, SecretBytes)):
        yield from _texts(value.get_secret_value())
    elif isinstance(value, bytes):
        yield value.decode(errors="replace")
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for inner in value:
            yield from _texts(inner)
    else:
        yield str(value)


def _variable_at(kind: type[BaseSettings], location: list[str]) -> str:
    field, *inner = location
    # pydantic reports an aliased field by the alias.
    first = variable_of(kind, field) if field in kind.model_fields else _cased(kind, field)
    delimiter = kind.model_config.get("env_nested_delimiter")
    if delimiter and all(part.isidentifier() for part in inner):
        return delimiter.join([first, *(_cased(kind, part) for part in inner)])
    return ".".join([first, *inner])


def _default(field: FieldInfo) -> object:
    return field.get_default(call_default_factory=True, validated_data={})


def _shown(name: str, value: object) -> str:
    if _holds_secret(value) or (value and _SECRET.search(name)):
        return MASK
    return _text(value)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (frozenset, set)):
        return ",".join(sorted(map(str, value)))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, Mapping):
        return json.dumps(dict(value), default=str)
    if isinstance(value, (list, tuple)):
        return json.dumps(value, default=str)
    return str(value)


def _is_secret(annotation: Any) -> bool:
    kind = get_origin(annotation) or annotation
    if isinstance(kind, type) and issubclass(kind, (Secret, SecretStr, SecretBytes)):
        return True
    return any(_is_secret(inside) for inside in get_args(annotation))


def _holds_secret(value: object) -> bool:
    if isinstance(value, (Secret, SecretStr, SecretBytes)):
        return True
    # A URL's password is a secret wherever the URL stands.
    return "://" in str(value) and "@" in str(value)
