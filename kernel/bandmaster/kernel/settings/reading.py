"""Read settings from the environment."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeVar, cast

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from bandmaster.kernel.errors import PlanError, Problem
from bandmaster.kernel.settings.secrets import holds_secret, is_secret_field, secret_variables
from bandmaster.kernel.settings.validation import InvalidValue, invalid_values
from bandmaster.kernel.settings.variables import variable_at, variable_of, variables_of

_S = TypeVar("_S", bound=BaseSettings)


def read_settings(kinds: Iterable[type[BaseSettings]]) -> tuple[dict[type[Any], BaseSettings], list[Problem]]:
    """One instance of each settings type, read from the environment, and the problems of those that can't be read."""
    kinds = tuple(kinds)
    values: dict[type[Any], BaseSettings] = {}
    problems: list[Problem] = []
    for kind in kinds:
        try:
            values[kind] = kind()
        except ValidationError as error:
            problems += _describe_invalid(kind, error, kinds)
        except SettingsError as error:
            problems.append(_describe_unreadable(kind, error))
    return values, problems


def read_one(kind: type[_S]) -> _S:
    """A settings type, read from the environment.

    Raises:
        PlanError: the settings can't be read.
    """
    values, problems = read_settings([kind])
    if problems:
        raise PlanError(problems)
    read = values[kind]
    assert isinstance(read, kind)
    return read


def named_settings(base: type[_S], name: str, *, about: str, prefix: str | None = None) -> type[_S]:
    """A settings type like ``base``, for another component of its kind, read from variables of its own.

    The variables begin with ``prefix``; unless given, with the name and the prefix of ``base``: ``CACHE_REDIS_`` for
    ``cache``. ``about`` names the component in the docstring: "the Redis client 'cache'".
    """
    words = name.replace("-", "_").replace(".", "_")
    prefix = f"{words}_{base.model_config.get('env_prefix', '')}".upper() if prefix is None else prefix
    namespace = {
        "__module__": base.__module__,
        "__doc__": f"Settings of {about}, read from variables that begin with ``{prefix}``.",
        "model_config": SettingsConfigDict(env_prefix=prefix),
    }
    return cast("type[_S]", type(f"{words.title().replace('_', '')}{base.__name__}", (base,), namespace))


def _describe_unreadable(kind: type[BaseSettings], error: SettingsError) -> Problem:
    # The exception has no fields, and its cause shows the value.
    field = re.search(r'field "(\w+)"', str(error))
    if field is None or field[1] not in kind.model_fields:
        return Problem(f"{kind.__name__} can't be read: {error}.", subject=kind.__name__)
    variable = variable_of(kind, field[1])
    return Problem(f"{variable} is wrong ({kind.__name__}): it isn't valid JSON.", subject=kind.__name__)


def _describe_invalid(
    kind: type[BaseSettings], error: ValidationError, others: Iterable[type[BaseSettings]]
) -> list[Problem]:
    secrets = secret_variables(others)

    def is_secret(name: str, value: object) -> bool:
        variables = variables_of(kind, name) if name in kind.model_fields else [name]
        is_declared = not secrets.isdisjoint(map(str.upper, variables))
        return is_declared or is_secret_field(kind, name) or holds_secret(value)

    return [_describe_value(kind, value) for value in invalid_values(error, is_secret)]


def _describe_value(kind: type[BaseSettings], value: InvalidValue) -> Problem:
    if not value.location:
        return Problem(f"{kind.__name__} is wrong: {value.message}.", subject=kind.__name__)
    where = variable_at(kind, value.location)
    if value.missing:
        return Problem(
            f"{where} is not set ({kind.__name__} needs it).",
            f"Set it in the environment, or pass overrides={{{kind.__name__}: {kind.__name__}(...)}}.",
            kind.__name__,
        )
    return Problem(f"{where} is wrong ({kind.__name__}): {value.message}.", subject=kind.__name__)
