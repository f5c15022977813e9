"""Describe settings and their values as text, with secrets hidden."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from bandmaster.kernel.contributions.keys import type_name
from bandmaster.kernel.settings.named_values import is_named_values, render_named_values
from bandmaster.kernel.settings.secrets import hide_secrets, is_secret_field
from bandmaster.kernel.settings.variables import variable_of, variables_of
from bandmaster.kernel.text import MASK


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of a settings type, and the variable that sets the field."""

    variable: str
    kind: str
    description: str
    required: bool
    default: str
    secret: bool


def describe_settings(kind: type[BaseSettings], secrets: Collection[str] = ()) -> list[Setting]:
    """Every field of a settings type, with the variable that sets it.

    ``secrets`` are variables that other types declare to be secret, from `secret_variables`.
    """
    return [
        Setting(
            variable=variable_of(kind, name),
            kind=type_name(field.annotation),
            description=field.description or "",
            required=field.is_required(),
            default="" if field.is_required() else _render(kind, name, _find_default(field), secrets),
            secret=is_secret_field(kind, name) or _is_among(secrets, kind, name),
        )
        for name, field in kind.model_fields.items()
    ]


def current_value(settings: BaseSettings, name: str, secrets: Collection[str] = ()) -> str:
    """A field's value as text, a secret masked; ``secrets`` as for `describe_settings`."""
    return _render(type(settings), name, getattr(settings, name), secrets)


def _is_among(secrets: Collection[str], kind: type[BaseSettings], name: str) -> bool:
    return any(variable.upper() in secrets for variable in variables_of(kind, name))


def _find_default(field: FieldInfo) -> object:
    return field.get_default(call_default_factory=True, validated_data={})


def _render(kind: type[BaseSettings], name: str, value: object, secrets: Collection[str]) -> str:
    shown = hide_secrets(value, name)
    if shown is None:
        return ""
    if shown != "" and _is_among(secrets, kind, name):
        return MASK
    if isinstance(shown, set):
        return ",".join(sorted(shown))
    if isinstance(value, Mapping) and is_named_values(kind.model_fields[name]):
        return render_named_values(value)  # a name in it is the name of a part, whatever it sounds like
    if isinstance(shown, bool):
        return str(shown).lower()
    return json.dumps(shown) if isinstance(shown, Mapping | list) else str(shown)
