"""Which fields of settings hold secrets, and their values with the secrets hidden."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin

from pydantic import BaseModel, Secret, SecretBytes, SecretStr
from pydantic_settings import BaseSettings

from bandmaster.kernel.redaction.masking import MASK, masked, masked_value
from bandmaster.kernel.redaction.names import is_secret_name
from bandmaster.kernel.settings.variables import variables_of


def is_secret_field(kind: type[BaseModel], name: str) -> bool:
    """Whether a field is a secret by type or by name."""
    field = kind.model_fields.get(name)
    if field is None:
        return is_secret_name(name)
    is_flag = {bool, NoneType} >= set(get_args(field.annotation) or [field.annotation])  # cors_credentials: bool
    return is_secret_type(field.annotation) or (is_secret_name(name) and not is_flag)


def secret_variables(kinds: Iterable[type[BaseSettings]]) -> frozenset[str]:
    """The variables that at least one of the settings types declares to be secret, in capitals.

    Another type may read the same variable as plain text.
    """
    return frozenset(
        variable.upper()
        for kind in kinds
        for name, field in kind.model_fields.items()
        for first in variables_of(kind, name)
        for variable in _find_secrets(kind, name, first, field.annotation)
    )


def _find_secrets(kind: type[BaseModel], name: str, variable: str, annotation: Any) -> Iterator[str]:
    """The variable of a secret field, and the variables of the secrets in nested models."""
    if is_secret_field(kind, name):
        yield variable
    delimiter = kind.model_config.get("env_nested_delimiter")
    if isinstance(delimiter, str) and delimiter:
        for model in _list_models(annotation):
            yield from (f"{variable}{delimiter}{inner}" for inner in _list_secret_paths(model, delimiter, (model,)))


def _list_secret_paths(kind: type[BaseModel], delimiter: str, outer: tuple[type[BaseModel], ...]) -> Iterator[str]:
    """The paths of the secret fields in a model; ``outer`` are the models around it, which a path enters only once."""
    for name, field in kind.model_fields.items():
        if is_secret_field(kind, name):
            yield name
        for model in _list_models(field.annotation):
            if model not in outer:
                inner = _list_secret_paths(model, delimiter, (*outer, model))
                yield from (f"{name}{delimiter}{path}" for path in inner)


def _list_models(annotation: Any) -> list[type[BaseModel]]:
    """The model of an annotation, and each model of a union."""
    if get_origin(annotation) in (Annotated, Union, UnionType):
        return [model for inside in get_args(annotation) for model in _list_models(inside)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []


def hide_secrets(value: object, name: str = "") -> Any:
    """A value as plain data. Secrets are masked by type, by the name of a field or key, and inside of text."""
    if isinstance(value, (Secret, SecretStr, SecretBytes)):
        return MASK
    if value is None or isinstance(value, bool):
        return value
    if is_secret_name(name) and value not in ("", b"", (), [], {}):
        return MASK
    if isinstance(value, BaseModel):
        return {field: hide_secrets(getattr(value, field), field) for field in type(value).model_fields}
    if isinstance(value, Mapping):
        return {masked(str(key)): hide_secrets(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        if (names := _name_items(value)) is not None:
            return [hide_secrets(inner, name) for name, inner in zip(names, value, strict=True)]
        return [hide_secrets(inner) for inner in value]
    if isinstance(value, (set, frozenset)):
        return {masked_value(str(inner)) for inner in value}
    if isinstance(value, (int, float)):
        return value
    return masked_value(str(value.value if isinstance(value, Enum) else value))


def _name_items(value: list[Any] | tuple[Any, ...]) -> Sequence[str] | None:
    """The names of a named tuple's items, or of a pair of name and value, such as a header."""
    if fields := getattr(value, "_fields", None):
        return cast("Sequence[str]", fields)
    match value:
        case [str() as name, _]:
            return ("", name)
        case _:
            return None


def collect_texts(value: object) -> Iterator[str]:
    """Every text in a value, secrets included, which a message must not repeat."""
    if isinstance(value, (Secret, SecretStr, SecretBytes)):
        yield from collect_texts(value.get_secret_value())
    elif isinstance(value, bytes):
        yield value.decode(errors="replace")
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from collect_texts(inner)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for inner in value:
            yield from collect_texts(inner)
    else:
        yield str(value)


def holds_secret(value: object) -> bool:
    """Whether a value is a secret by type, or has a secret in the text."""
    return isinstance(value, (Secret, SecretStr, SecretBytes)) or masked_value(str(value)) != str(value)


def is_secret_type(annotation: Any) -> bool:
    """Whether a type, or a type inside of it, is one of pydantic's secrets."""
    kind = get_origin(annotation) or annotation
    if isinstance(kind, type) and issubclass(kind, (Secret, SecretStr, SecretBytes)):
        return True
    return any(is_secret_type(inside) for inside in get_args(annotation))
