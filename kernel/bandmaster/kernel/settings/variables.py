"""The environment variables that set the fields of a settings type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings


def variable_of(kind: type[BaseSettings], field: str) -> str:
    """The environment variable that sets a field; the first one, where several do."""
    return variables_of(kind, field)[0]


def variables_of(kind: type[BaseSettings], field: str) -> list[str]:
    """Every environment variable that sets a field, in the order in which they are looked up."""
    from pydantic import AliasChoices, AliasPath

    alias = kind.model_fields[field].validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    names = [str(choice.path[0]) if isinstance(choice, AliasPath) else choice for choice in choices]
    prefix = kind.model_config.get("env_prefix", "")
    return [_apply_case(kind, f"{prefix}{field}" if name is None else name) for name in names]


def variable_at(kind: type[BaseSettings], location: Sequence[str | int]) -> str:
    """The variable that sets the place inside a settings type that pydantic found to be wrong."""
    field, *inner = map(str, location)
    # pydantic reports an aliased field by the alias.
    first = variable_of(kind, field) if field in kind.model_fields else _apply_case(kind, field)
    delimiter = kind.model_config.get("env_nested_delimiter")
    if delimiter and all(part.isidentifier() for part in inner):
        return delimiter.join([first, *(_apply_case(kind, part) for part in inner)])
    return ".".join([first, *inner])


def _apply_case(kind: type[BaseSettings], name: str) -> str:
    return name if kind.model_config.get("case_sensitive") else name.upper()
