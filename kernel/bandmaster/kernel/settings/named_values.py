"""Settings that are lists of name=value: ``database=60,cache=5``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo
from pydantic_core import from_json
from pydantic_settings import NoDecode

_V = TypeVar("_V")


def parse_named_values(value: object) -> object:
    """The values by name of a text such as ``database=60, cache=5``; anything but text unchanged.

    A JSON object means the same, for it is how other mappings are set. The values are checked by the field's type.

    Raises:
        ValueError: an entry isn't of the form ``name=value``, or a name is given twice. The message doesn't quote the
            text.
    """
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        return from_json(value)
    found: dict[str, str] = {}
    for number, entry in enumerate((part for part in value.split(",") if part.strip()), start=1):
        name, sign, given = (part.strip() for part in entry.partition("="))
        if not (name and sign and given):
            raise ValueError(
                f"expected name=value with commas in between, such as database=60,cache=5; entry {number} has another "
                "form"
            )
        if name in found:
            raise ValueError(f"the name of entry {number} is given twice")
        found[name] = given
    return found


def render_named_values(values: Mapping[str, Any]) -> str:
    """Values by name, as `parse_named_values` reads them."""
    return ",".join(f"{name}={str(value).removesuffix('.0')}" for name, value in values.items())


NamedValues: TypeAlias = Annotated[Mapping[str, _V], NoDecode, BeforeValidator(parse_named_values)]
"""The type of a field that is set by a list of ``name=value``."""


def is_named_values(field: FieldInfo) -> bool:
    """Whether the field of a settings type is annotated as `NamedValues`."""
    return any(isinstance(mark, BeforeValidator) and mark.func is parse_named_values for mark in field.metadata)
