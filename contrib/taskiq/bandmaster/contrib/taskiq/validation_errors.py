"""How validation errors of pydantic are rendered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError


def render_validation_error(
    error: ValidationError, render_location: Callable[[tuple[Any, ...]], str], *, hide_values: bool = False
) -> list[str]:
    """One line for each invalid value, without the value: ``location: reason``.

    With ``hide_values`` the reasons given by an application's own validators are hidden too: they may quote the value.
    """
    return [
        f"{render_location(detail['loc'])}: {_render_reason(detail, hide_values)}"
        for detail in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def render_first_reason(error: ValidationError) -> str:
    """The reason of the first invalid value, for a validator that raises the reason again as its own."""
    return str(error.errors(include_url=False, include_input=False)[0]["msg"]).removeprefix("Value error, ")


def _render_reason(detail: Any, hide_values: bool) -> str:
    if hide_values and detail["type"] in ("value_error", "assertion_error"):
        return "a validator refused it"
    return str(detail["msg"])
