"""Render pydantic's validation errors, without the values that were refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

from bandmaster.kernel.redaction.masking import MASK
from bandmaster.kernel.redaction.names import is_secret_name

if TYPE_CHECKING:
    from pydantic import ValidationError

Location: TypeAlias = tuple[str | int, ...]

_SHORTEST_HIDDEN = 4
"""Characters; shorter inputs, such as a digit, stand in messages for other reasons."""


@dataclass(frozen=True, slots=True)
class InvalidValue:
    """One value that pydantic refused."""

    location: Location
    """The steps to the value, from outside in; empty for the whole input."""
    message: str
    missing: bool
    type: str = field(default="", compare=False)
    """The name that pydantic gives to the kind of fault, such as ``extra_forbidden``."""


def validation_messages(error: ValidationError, name: Callable[[Location], str] | None = None) -> list[str]:
    """One message for each refused value: ``port: Input should be less than 65536``.

    ``name`` renders the location of a value, for example as an option or a variable; the default joins the steps by
    dots. The values themselves aren't shown: one may be a secret in the wrong place.
    """
    render = name or _join_steps
    return [": ".join(filter(None, [render(one.location), one.message])) for one in invalid_values(error)]


def invalid_values(
    error: ValidationError, is_secret: Callable[[str, object], bool] | None = None
) -> list[InvalidValue]:
    """The refused values, in pydantic's order.

    ``is_secret`` decides by name and value which members a message about a whole model must not show.
    """
    is_secret = is_secret or _is_secret_member
    return [
        InvalidValue(detail["loc"], _render_message(detail, is_secret), detail["type"] == "missing", detail["type"])
        for detail in error.errors(include_url=False)
    ]


def _render_message(detail: Mapping[str, Any], is_secret: Callable[[str, object], bool]) -> str:
    message: str = detail["msg"].removeprefix("Value error, ").rstrip(".")
    if _may_quote_input(detail):
        for hidden in _find_hidden(detail, is_secret):
            message = message.replace(hidden, MASK)
    return message


def _may_quote_input(detail: Mapping[str, Any]) -> bool:
    # pydantic's own messages consist of constants ("Input should be 1001 or 1012"), unless they repeat another error or
    # a tag. An input may equal such a constant, which must be shown.
    from pydantic_core.core_schema import ErrorType

    return detail["type"] not in get_args(ErrorType) or not {"error", "tag"}.isdisjoint(detail.get("ctx", ()))


def _find_hidden(detail: Mapping[str, Any], is_secret: Callable[[str, object], bool]) -> list[str]:
    """The texts that a message must not show: those of the one value, or of the secret members of a whole model."""
    from bandmaster.kernel.settings.secrets import collect_texts

    given = detail["input"]
    if detail["loc"]:
        found = list(collect_texts(given))
    else:
        members = given if isinstance(given, Mapping) else {}
        found = [text for name, value in members.items() if is_secret(name, value) for text in collect_texts(value)]
    return sorted((text for text in found if len(text) >= _SHORTEST_HIDDEN), key=len, reverse=True)


def _is_secret_member(name: str, value: object) -> bool:
    from bandmaster.kernel.settings.secrets import holds_secret

    return is_secret_name(name) or holds_secret(value)


def _join_steps(location: Location) -> str:
    return ".".join(map(str, location))
