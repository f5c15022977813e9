"""Describe settings and their values as text, with secrets hidden."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from bandmaster.kernel.contributions.keys import type_name
from bandmaster.kernel.redaction.masking import MASK
from bandmaster.kernel.settings.named_values import is_named_values
from bandmaster.kernel.settings.secrets import hide_secrets, is_secret_field, is_secret_type
from bandmaster.kernel.settings.texts import accepts_empty, render_value
from bandmaster.kernel.settings.variables import Leaf, list_leaves, variable_of, variables_of


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of a settings type, and the variable that sets the field.

    A field that needs a model is described by the model's fields, where each has a variable of its own.
    """

    variable: str
    kind: str
    description: str
    required: bool
    default: str
    secret: bool
    path: tuple[str, ...] = ()
    """The names of the fields that lead to the value."""
    annotation: Any = None
    is_named_values: bool = False
    """Whether the text is a list of ``name=value``."""
    empty_is_unset: bool = False
    """Whether an empty text means that the variable isn't set."""

    @property
    def shows_default(self) -> bool:
        """Whether the default can be shown, and so be written to a file."""
        return not self.secret and MASK not in self.default


def describe_settings(kind: type[BaseSettings], secrets: Collection[str] = ()) -> list[Setting]:
    """Every field of a settings type, with the variable that sets the field.

    ``secrets`` are variables that other types declare to be secret, from `secret_variables`.
    """
    return [_describe_leaf(leaf, secrets) for name in kind.model_fields for leaf in _list_settings(kind, name)]


def current_value(settings: BaseSettings, name: str, secrets: Collection[str] = ()) -> str:
    """A field's value as text, a secret masked; ``secrets`` as for `describe_settings`."""
    return read_value(settings, (name,), secrets)


def read_value(settings: BaseSettings, path: tuple[str, ...], secrets: Collection[str] = ()) -> str:
    """The value at a path of fields as text, a secret masked; ``secrets`` as for `describe_settings`."""
    leaf = next(leaf for leaf in _list_settings(type(settings), path[0]) if leaf.path == path)
    value: Any = settings
    for name in path:
        value = getattr(value, name)
    return _render(leaf, value, secrets)


def _list_settings(kind: type[BaseSettings], name: str) -> list[Leaf]:
    """The field itself, or the fields of a model that it needs.

    A default is one value, since the variable of a single part would replace the whole of the default.
    """
    field = kind.model_fields[name]
    leaves = list_leaves(kind, name, whole_defaults=True) if field.is_required() else []
    return leaves or [Leaf((name,), variable_of(kind, name), field, kind, field.is_required())]


def _describe_leaf(leaf: Leaf, secrets: Collection[str]) -> Setting:
    field, name = leaf.field, leaf.path[-1]
    return Setting(
        variable=leaf.variable,
        kind=type_name(field.annotation),
        description=field.description or "",
        required=leaf.is_required,
        default="" if field.is_required() else _render(leaf, _find_default(field), secrets),
        secret=is_secret_field(leaf.owner, name) or _is_among(secrets, leaf),
        path=leaf.path,
        annotation=field.annotation,
        is_named_values=is_named_values(field),
        empty_is_unset=not accepts_empty(leaf.owner, field),
    )


def _is_among(secrets: Collection[str], leaf: Leaf) -> bool:
    variables = [leaf.variable]
    if not leaf.is_nested and issubclass(leaf.owner, BaseSettings):
        variables = variables_of(leaf.owner, leaf.path[0])
    return any(variable.upper() in secrets for variable in variables)


def _find_default(field: FieldInfo) -> object:
    return field.get_default(call_default_factory=True, validated_data={})


def _render(leaf: Leaf, value: object, secrets: Collection[str]) -> str:
    # A name in named values is the name of a part, also one that sounds like a secret.
    shown = value if is_named_values(leaf.field) else hide_secrets(value, leaf.path[-1])
    # The secrets among the values of a mapping are hidden by their types, and its keys are shown.
    is_hidden = isinstance(value, Mapping) and is_secret_type(leaf.field.annotation)
    if shown not in (None, "", {}) and _is_among(secrets, leaf) and not is_hidden:
        return MASK
    return render_value(leaf.owner, leaf.field, shown)
