"""Errors as results carry them: described in JSON, and made again without trust in what stands there. Pure."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from bandmaster.kernel import BandmasterError

_LONGEST_CHAIN = 8
"""Errors that led to one another. TaskIQ's own description takes twice as long with each, and blocks meanwhile."""
_LONGEST_TEXT = 4000


class TaskFailed(BandmasterError):
    """A task failed with an error that can't be made again here: its class isn't known, or mayn't be made."""

    def __init__(self, type_name: str, text: str) -> None:
        super().__init__(type_name, text)
        self.type_name = type_name
        """The error's class, with its module."""
        self.text = text

    def __str__(self) -> str:
        return f"{self.type_name}: {self.text}".rstrip(": ")


def describe_error(error: BaseException) -> dict[str, Any]:
    """An error in the JSON form of TaskIQ's, with its text beside it; neither traceback nor variables.

    What led to it is told too, for the last few steps.
    """
    return _describe(error, _LONGEST_CHAIN)


def make_error(described: object) -> Exception:
    """The error that is described, or a `TaskFailed`.

    Only classes below `Exception` are made, that their modules, which must have been imported already, hold under the
    name given; nothing is looked up in ways that could run code of a module, and nothing is imported. The constructor
    is called, with whatever stands there.
    """
    return _make(described, _LONGEST_CHAIN)


def _describe(error: BaseException, depth: int) -> dict[str, Any]:
    cause, context = error.__cause__, None if error.__suppress_context__ else error.__context__
    if depth <= 1:
        cause = context = None
    elif cause is not None:
        context = None
    return {
        "exc_type": type(error).__qualname__,
        "exc_module": type(error).__module__,
        "exc_message": [_jsonable(argument) for argument in error.args],
        "exc_cause": None if cause is None else _describe(cause, depth - 1),
        "exc_context": None if context is None else _describe(context, depth - 1),
        "exc_suppress_context": error.__suppress_context__,
        # TaskIQ doesn't read it. Errors that keep their text elsewhere than in their arguments would lose it.
        "exc_text": _said(error, str),
    }


def _jsonable(value: object) -> Any:
    try:
        json.dumps(value, allow_nan=False)
    except Exception:  # noqa: BLE001  # arguments are anything, and this is about an error already
        return _said(value, repr)
    return value


def _said(value: object, how: type[str] | Any) -> str:
    try:
        return str(how(value))[:_LONGEST_TEXT]
    except Exception:  # noqa: BLE001  # as above
        return f"<{type(value).__qualname__} that can't be shown>"


def _make(described: object, depth: int) -> Exception:
    if not isinstance(described, Mapping):
        return TaskFailed("unknown error", _said(described, str))
    arguments = described.get("exc_message")
    arguments = list(arguments) if isinstance(arguments, list) else []
    made = _made(_known_class(described.get("exc_module"), described.get("exc_type")), arguments)
    if made is None:
        where = f"{described['exc_module']}." if described.get("exc_module") else ""
        text = described.get("exc_text")
        text = text if isinstance(text, str) else ", ".join(str(argument) for argument in arguments)
        made = TaskFailed(f"{where}{described.get('exc_type', 'unknown error')}", text[:_LONGEST_TEXT])
    if depth > 1:
        made.__cause__ = _led_to(described.get("exc_cause"), depth)
        made.__context__ = _led_to(described.get("exc_context"), depth)
    made.__suppress_context__ = bool(described.get("exc_suppress_context"))
    return made


def _led_to(described: object, depth: int) -> Exception | None:
    return None if described is None else _make(described, depth - 1)


def _known_class(module: object, name: object) -> type[Exception] | None:
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    found: object = sys.modules.get(module)
    for part in name.split("."):
        try:
            # Not getattr: a module may import others when it is asked for a name.
            found = object.__getattribute__(found, "__dict__").get(part)
        except AttributeError:
            return None
    # SystemExit and its like would end or cancel whoever raises them again.
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def _made(kind: type[Exception] | None, arguments: list[Any]) -> Exception | None:
    if kind is None:
        return None
    try:
        made = kind(*arguments)
        # Constructors that write a text of their arguments would write it twice.
        made.args = tuple(arguments)
        str(made)
    except Exception:  # noqa: BLE001  # classes need not take their own arguments
        return None
    return made if isinstance(made, Exception) else None
