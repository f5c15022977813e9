"""Describe why settings can't be read: by variables, with the lines of env files, without the values."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsError

from bandmaster.kernel.errors import PlanError, Problem
from bandmaster.kernel.settings.env_file import EnvFile, read_env_file
from bandmaster.kernel.settings.environment import Environment
from bandmaster.kernel.settings.secrets import holds_secret, is_secret_field, secret_variables
from bandmaster.kernel.settings.validation import InvalidValue, invalid_values
from bandmaster.kernel.settings.variables import find_field, list_leaves, variable_at, variable_of, variables_of
from bandmaster.kernel.text import find_nearest

_VERY_CLOSE = 0.9
"""The likeness of two names of which one is probably misspelt."""


def describe_invalid(
    kind: type[BaseSettings],
    error: ValidationError,
    environment: Environment,
    others: Iterable[type[BaseSettings]] = (),
    *,
    names: Mapping[str, str] = MappingProxyType({}),
) -> list[Problem]:
    """The problems of a settings type with refused values, without the values.

    Each names the variable, and the line of an env file that sets the variable. ``others`` are further types, which
    may declare secrets among the variables of this one. ``names`` has the names of fields that no variable has set, but
    options of a command line or arguments.
    """
    secrets = secret_variables([kind, *others])

    def is_secret(name: str, value: object) -> bool:
        variables = variables_of(kind, name) if name in kind.model_fields else [name]
        is_declared = not secrets.isdisjoint(map(str.upper, variables))
        return is_declared or is_secret_field(kind, name) or holds_secret(value)

    refused = invalid_values(error, is_secret)
    extra = [value for value in refused if value.type == "extra_forbidden" and len(value.location) == 1]
    problems = [
        problem
        for value in refused
        if value not in extra
        for problem in _describe_value(kind, value, environment, names)
    ]
    return [*problems, *_describe_extra(kind, extra)]


def describe_unreadable(kind: type[BaseSettings], error: SettingsError, environment: Environment) -> Problem:
    """The problem of a settings type of which a source can't be read."""
    # The exception has no fields, and its cause shows the value.
    field = re.search(r'field "(\w+)"', str(error))
    if field is None or field[1] not in kind.model_fields:
        return Problem(f"{kind.__name__} can't be read: {error}.", subject=kind.__name__)
    variable = variable_of(kind, field[1])
    place = _find_place(kind, (field[1],), environment)
    return Problem(f"{variable} is wrong ({kind.__name__}{place}): it isn't valid JSON.", subject=kind.__name__)


def _name_variables(kind: type[BaseSettings], message: str, names: Mapping[str, str]) -> str:
    """A message about several settings, with the variables in place of the names of the fields."""

    def replace(match: re.Match[str]) -> str:
        name = match[0]
        # A field may have the name of a common word. At the beginning, or with an underscore, a name is meant.
        is_name = "_" in name or (match.start() == 0 and message[match.end() : match.end() + 1] == ":")
        return names.get(name) or variable_of(kind, name) if is_name and name in kind.model_fields else name

    return re.sub(r"\b[a-z][a-z0-9_]*\b", replace, message)


def _describe_value(
    kind: type[BaseSettings], value: InvalidValue, environment: Environment, names: Mapping[str, str]
) -> Iterator[Problem]:
    name = kind.__name__
    if not value.location:
        yield Problem(f"{name} is wrong: {_name_variables(kind, value.message, names)}.", subject=name)
        return
    if given := names.get(str(value.location[0])):
        yield Problem(f"{given} is wrong: {value.message}.", subject=name)
        return
    where = variable_at(kind, value.location)
    if not value.missing:
        place = _find_place(kind, value.location, environment)
        yield Problem(f"{where} is wrong ({name}{place}): {value.message}.", subject=name)
        return
    field = find_field(kind, value.location)
    leaves = list_leaves(kind, field) if field is not None else []
    below = [leaf for leaf in leaves if leaf.path[: len(value.location)] == tuple(map(str, value.location))]
    required = [leaf.variable for leaf in below if leaf.is_required]
    for variable in required or [where]:
        near = find_nearest(variable, environment.names, cutoff=_VERY_CLOSE)
        hint = "" if near is None else f" {near} is set: is it misspelt?"
        yield Problem(
            f"{variable} is not set ({name} needs it).",
            f"Set it in the environment, or pass overrides={{{name}: {name}(...)}}.{hint}",
            name,
        )


def _describe_extra(kind: type[BaseSettings], extra: Sequence[InvalidValue]) -> Iterator[Problem]:
    """The lines of a type's own env file that are for other programs, as one problem."""
    names = [str(value.location[0]).upper() for value in extra]
    own = _read_own_files(kind)
    places = [next((f" ({file.place(found)})" for file, found in _find_lines(own, name)), "") for name in names]
    if names:
        listing = ", ".join(f"{name}{place}" for name, place in zip(names, places, strict=True))
        files = " and ".join(file.path for file in own)
        yield Problem(
            f"{kind.__name__} reads {files or 'a source'} and refuses what is there for others: {listing}.",
            f"Let the model_config of {kind.__name__} have extra='ignore'.",
            kind.__name__,
        )


def _find_place(kind: type[BaseSettings], location: Sequence[str | int], environment: Environment) -> str:
    """The file and the line that set a value, as the end of a parenthesis; empty where no file does."""
    field = find_field(kind, location)
    names = [variable_at(kind, location), *([] if field is None else variables_of(kind, field))]
    case_sensitive = bool(kind.model_config.get("case_sensitive"))
    for name in names:
        if place := environment.find_place(name, case_sensitive=case_sensitive):
            return f", {place}"
        if environment.has(name, case_sensitive=case_sensitive):
            return ""
    lines = (file.place(found) for name in names for file, found in _find_lines(_read_own_files(kind), name))
    return next((f", {place}" for place in lines), "")


def _read_own_files(kind: type[BaseSettings]) -> list[EnvFile]:
    """The env files that the type itself names, the one with the highest precedence first."""
    named = kind.model_config.get("env_file") or ()
    paths = [named] if isinstance(named, str | os.PathLike) else list(named)
    found = []
    for path in reversed(paths):
        with suppress(PlanError):  # pydantic-settings leaves out what can't be read
            found.append(read_env_file(os.fspath(path), {}))
    return found


def _find_lines(files: Iterable[EnvFile], name: str) -> Iterator[tuple[EnvFile, str]]:
    for file in files:
        yield from ((file, other) for other in file.variables if other.upper() == name.upper())
