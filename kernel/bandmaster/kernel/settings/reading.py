"""Read settings from an environment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar, cast

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from bandmaster.kernel.errors import PlanError, Problem
from bandmaster.kernel.settings.environment import Environment, current_environment, use_environment
from bandmaster.kernel.settings.problems import describe_invalid, describe_unreadable
from bandmaster.kernel.settings.source import build_settings

_S = TypeVar("_S", bound=BaseSettings)


def read_settings(
    kinds: Iterable[type[BaseSettings]], environment: Environment | None = None
) -> tuple[dict[type[Any], BaseSettings], list[Problem]]:
    """One instance of each settings type, read from an environment, and the problems of those that can't be read.

    The environment is the current one unless given.
    """
    kinds = tuple(kinds)
    environment = current_environment() if environment is None else environment
    values: dict[type[Any], BaseSettings] = {}
    problems: list[Problem] = []
    try:
        _ = environment.file
    except PlanError as error:
        return values, list(error.problems)
    for kind in kinds:
        try:
            # A constructor, or a default, may make other settings.
            with use_environment(environment):
                values[kind] = build_settings(kind, environment)
        except ValidationError as error:
            problems += describe_invalid(kind, error, environment, kinds)
        except SettingsError as error:
            problems.append(describe_unreadable(kind, error, environment))
    return values, problems


def load_settings(kind: type[_S]) -> _S:
    """A settings type, read from the variables of the process and from the env file of the running command.

    For code outside of components, such as a command; a component has a parameter of the type instead.

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
