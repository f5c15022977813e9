"""Read the fields of a settings type from an environment, and build the settings of their sources."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    SecretsSettingsSource,
)
from pydantic_settings.sources import DefaultSettingsSource

from bandmaster.kernel.settings.environment import Environment
from bandmaster.kernel.settings.texts import accepts_empty, find_literal
from bandmaster.kernel.settings.variables import list_leaves, variables_of

_S = TypeVar("_S", bound=BaseSettings)


class VariablesSource(EnvSettingsSource):
    """The variables of a process and of an env file, as pydantic-settings reads those of a process.

    An empty text means that the variable isn't set, unless the field can be an empty text or an empty list.
    """

    def __init__(self, kind: type[BaseSettings], environment: Environment) -> None:
        super().__init__(kind)
        file = self._read_file(environment)
        self.env_vars = {**file, **self.env_vars}
        for name, field in kind.model_fields.items():
            if not accepts_empty(kind, field):
                self._drop_empty(variables_of(kind, name), file)
            for leaf in list_leaves(kind, name):
                if not accepts_empty(leaf.owner, leaf.field):
                    self._drop_empty([leaf.variable], file)

    def prepare_field_value(self, field_name: str, field: FieldInfo, value: Any, value_is_complex: bool) -> Any:
        """The value of a field; a literal may be a number, which pydantic doesn't read from a text."""
        if isinstance(value, str):
            value = find_literal(field.annotation, value)
            if not isinstance(value, str):
                return value
        return super().prepare_field_value(field_name, field, value, value_is_complex)

    def _read_file(self, environment: Environment) -> dict[str, str | None]:
        variables = {} if environment.file is None else environment.file.variables
        return {
            self._fold(name): variable.value
            for name, variable in variables.items()
            if variable.value or not self.env_ignore_empty
        }

    def _drop_empty(self, variables: list[str], file: Mapping[str, str | None]) -> None:
        read: dict[str, str | None] = self.env_vars  # type: ignore[assignment]  # made above
        for variable in variables:
            name = self._fold(variable)
            if name in read and not (read[name] or "").strip():
                if file.get(name):
                    read[name] = file[name]
                else:
                    del read[name]

    def _fold(self, name: str) -> str:
        return name if self.case_sensitive else name.lower()


def build_settings(kind: type[_S], environment: Environment) -> _S:
    """The settings of a type from its own sources, with the variables of ``environment`` in place of the process's.

    Raises:
        ValidationError: a value is wrong.
        SettingsError: a source can't be read.
    """
    if kind.__init__ is not BaseSettings.__init__:
        return _call_constructor(kind, environment)
    sources = kind.settings_customise_sources(
        kind,
        init_settings=InitSettingsSource(kind, init_kwargs={}),
        env_settings=VariablesSource(kind, environment),
        dotenv_settings=DotEnvSettingsSource(kind),
        file_secret_settings=SecretsSettingsSource(kind),
    )
    state: dict[str, Any] = {}
    for source in (*sources, DefaultSettingsSource(kind)):
        # A source that is no more than a function has no state.
        set_state = getattr(source, "_set_current_state", None)
        if set_state is not None:
            set_state(state)
        state = _merge(source(), state)
    settings = kind.__new__(kind)
    BaseModel.__init__(settings, **state)
    return settings


def _call_constructor(kind: type[_S], environment: Environment) -> _S:
    """The settings of a type with a constructor of its own, which gets the values of the file as arguments."""
    parameters = inspect.signature(kind.__init__).parameters.values()
    if environment.file is None or not any(one.kind is one.VAR_KEYWORD for one in parameters):
        return kind()
    return kind(**VariablesSource(kind, environment)())


def _merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """The values of two sources; those of nested mappings are merged."""
    merged = dict(lower)
    for name, value in upper.items():
        below = merged.get(name)
        merged[name] = _merge(below, value) if isinstance(value, dict) and isinstance(below, dict) else value
    return merged
