"""How validation errors of pydantic are rendered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError


def render_argument_errors(error: ValidationError, render_location: Callable[[tuple[Any, ...]], str]) -> list[str]:
    """One line for each invalid value, without the value: ``location: reason``.

    The reasons given by an application's own validators are hidden too: they may quote the value, or a part of it,
    which the kernel's `validation_messages` couldn't recognise.
    """
    return [
        f"{render_location(detail['loc'])}: {_render_reason(detail)}"
        for detail in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def render_first_reason(error: ValidationError) -> str:
    """The reason of the first invalid value, for a validator that raises the reason again as its own."""
    return str(error.errors(include_url=False, include_input=False)[0]["msg"]).removeprefix("Value error, ")


def _render_reason(detail: Any) -> str:
    if detail["type"] in ("value_error", "assertion_error"):
        return "a validator refused it"
    return str(detail["msg"])
