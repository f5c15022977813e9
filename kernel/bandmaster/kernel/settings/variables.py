"""The environment variables that set the fields of a settings type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo
    from pydantic_settings import BaseSettings


def variable_of(kind: type[BaseSettings], field: str) -> str:
    """The environment variable that sets a field; the first one, where several do."""
    return variables_of(kind, field)[0]


def variables_of(kind: type[BaseSettings], field: str) -> list[str]:
    """Every environment variable that sets a field, in the order in which they are looked up."""
    from pydantic import AliasChoices, AliasPath

    config = kind.model_config
    prefix, target = config.get("env_prefix", ""), config.get("env_prefix_target", "variable")
    alias = kind.model_fields[field].validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    names = [str(choice.path[0]) if isinstance(choice, AliasPath) else choice for choice in choices]
    by_alias = [name if target == "variable" else f"{prefix}{name}" for name in names if name is not None]
    takes_name = not by_alias or config.get("populate_by_name") or config.get("validate_by_name")
    by_name = [field if target == "alias" else f"{prefix}{field}"] if takes_name else []
    return [_apply_case(kind, name) for name in dict.fromkeys([*by_alias, *by_name])]


def variable_at(kind: type[BaseSettings], location: Sequence[str | int]) -> str:
    """The variable that sets the place inside a settings type that pydantic found to be wrong."""
    field, *inner = map(str, location)
    # pydantic reports an aliased field by the alias.
    first = variable_of(kind, field) if field in kind.model_fields else _apply_case(kind, field)
    delimiter = kind.model_config.get("env_nested_delimiter")
    if delimiter and all(part.isidentifier() for part in inner):
        return delimiter.join([first, *(_apply_case(kind, part) for part in inner)])
    return ".".join([first, *inner])


@dataclass(frozen=True, slots=True)
class Leaf:
    """A field of a settings type, or of a model nested in a field, that a variable of its own sets."""

    path: tuple[str, ...]
    """The names of the fields that lead to the value, from outside in."""
    variable: str
    field: FieldInfo
    owner: type[BaseModel]
    """The model that has the field."""
    is_required: bool
    """Whether neither the field nor a model around it has a default."""

    @property
    def is_nested(self) -> bool:
        """Whether the field belongs to a model inside the settings type."""
        return len(self.path) > 1


def list_leaves(kind: type[BaseSettings], field: str, *, whole_defaults: bool = False) -> list[Leaf]:
    """The variables below a field: those of the nested model's fields, or none where the field isn't a model.

    A nested model has variables of its own if the settings type has an ``env_nested_delimiter``. With
    ``whole_defaults`` a model further inside that has a default is one leaf.
    """
    delimiter = kind.model_config.get("env_nested_delimiter")
    model = find_model(kind.model_fields[field].annotation)
    if not delimiter or model is None:
        return []
    is_required = kind.model_fields[field].is_required()
    variable = variable_of(kind, field)
    leaves = _walk_model(kind, model, (field,), variable, delimiter, (model,), is_required, whole_defaults)
    return list(leaves)


def find_field(kind: type[BaseSettings], location: Sequence[str | int]) -> str | None:
    """The field of a settings type at the beginning of a location; pydantic names an aliased field by the alias."""
    first = str(location[0]) if location else ""
    if first in kind.model_fields:
        return first
    folded = _apply_case(kind, first)
    return next((name for name in kind.model_fields if folded in variables_of(kind, name)), None)


def find_model(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation names; None for other types and for unions."""
    from pydantic import BaseModel

    if get_origin(annotation) is Annotated:
        return find_model(get_args(annotation)[0])
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _walk_model(
    kind: type[BaseSettings],
    model: type[BaseModel],
    path: tuple[str, ...],
    variable: str,
    delimiter: str,
    outer: tuple[type[BaseModel], ...],
    is_required: bool,
    whole_defaults: bool,
) -> Iterator[Leaf]:
    """The leaves of a model; ``outer`` are the models around it, which a path enters only once."""
    for name, field in model.model_fields.items():
        inner = find_model(field.annotation)
        below = (*path, name)
        own = f"{variable}{delimiter}{_apply_case(kind, _get_key(name, field))}"
        is_whole = whole_defaults and not field.is_required()
        if inner is None or inner in outer or is_whole:
            yield Leaf(below, own, field, model, is_required and field.is_required())
        else:
            needed = is_required and field.is_required()
            yield from _walk_model(kind, inner, below, own, delimiter, (*outer, inner), needed, whole_defaults)


def _get_key(name: str, field: FieldInfo) -> str:
    """The name by which a variable reaches the field of a nested model."""
    return field.validation_alias if isinstance(field.validation_alias, str) else name


def _apply_case(kind: type[BaseSettings], name: str) -> str:
    return name if kind.model_config.get("case_sensitive") else name.upper()
