"""Errors encoded as JSON in results, and decoded without trusting the JSON. Pure."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from bandmaster.contrib.taskiq.errors import TaskFailed

_LONGEST_CHAIN = 8
"""Errors in a chain of causes. TaskIQ's own encoding takes twice as long with each, and blocks the event loop."""
_LONGEST_TEXT = 4000


def encode_error(error: BaseException) -> dict[str, Any]:
    """An error in TaskIQ's JSON form with its text, and its last few causes; without traceback and variables."""
    return _encode(error, _LONGEST_CHAIN)


def decode_error(encoded: object) -> Exception:
    """The encoded error, or a `TaskFailed` if its class can't be made.

    Only subclasses of `Exception` are made, and only if their modules have been imported already and hold the class
    under its name. Nothing is imported or looked up in ways that could run a module's code. The constructor is called
    with the encoded arguments.
    """
    return _decode(encoded, _LONGEST_CHAIN)


def _encode(error: BaseException, depth: int) -> dict[str, Any]:
    cause, context = error.__cause__, None if error.__suppress_context__ else error.__context__
    if depth <= 1:
        cause = context = None
    elif cause is not None:
        context = None
    return {
        "exc_type": type(error).__qualname__,
        "exc_module": type(error).__module__,
        "exc_message": [_encode_argument(argument) for argument in error.args],
        "exc_cause": None if cause is None else _encode(cause, depth - 1),
        "exc_context": None if context is None else _encode(context, depth - 1),
        "exc_suppress_context": error.__suppress_context__,
        # TaskIQ doesn't read this field. Errors that keep their text elsewhere than in args would lose it.
        "exc_text": _render(error, str),
    }


def _encode_argument(value: object) -> Any:
    try:
        json.dumps(value, allow_nan=False)
    except Exception:  # noqa: BLE001  # arguments are of any type, and an error while encoding an error helps nobody
        return _render(value, repr)
    return value


def _render(value: object, convert: Callable[[object], str]) -> str:
    try:
        return str(convert(value))[:_LONGEST_TEXT]
    except Exception:  # noqa: BLE001  # as above
        return f"<{type(value).__qualname__} that can't be shown>"


def _decode(encoded: object, depth: int) -> Exception:
    if not isinstance(encoded, Mapping):
        return TaskFailed("unknown error", _render(encoded, str))
    arguments = encoded.get("exc_message")
    arguments = list(arguments) if isinstance(arguments, list) else []
    error = _make_error(_find_class(encoded.get("exc_module"), encoded.get("exc_type")), arguments)
    if error is None:
        module = f"{encoded['exc_module']}." if encoded.get("exc_module") else ""
        text = encoded.get("exc_text")
        text = text if isinstance(text, str) else ", ".join(str(argument) for argument in arguments)
        error = TaskFailed(f"{module}{encoded.get('exc_type', 'unknown error')}", text[:_LONGEST_TEXT])
    if depth > 1:
        error.__cause__ = _decode_optional(encoded.get("exc_cause"), depth - 1)
        error.__context__ = _decode_optional(encoded.get("exc_context"), depth - 1)
    error.__suppress_context__ = bool(encoded.get("exc_suppress_context"))
    return error


def _decode_optional(encoded: object, depth: int) -> Exception | None:
    return None if encoded is None else _decode(encoded, depth)


def _find_class(module: object, name: object) -> type[Exception] | None:
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    found: object = sys.modules.get(module)
    for part in name.split("."):
        try:
            # Not getattr: a module's __getattr__ may import other modules.
            found = object.__getattribute__(found, "__dict__").get(part)
        except AttributeError:
            return None
    # Only Exception: a SystemExit would end the process that raises it again.
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def _make_error(kind: type[Exception] | None, arguments: list[Any]) -> Exception | None:
    if kind is None:
        return None
    try:
        error = kind(*arguments)
        # Constructors that make a text from their arguments would make it twice.
        error.args = tuple(arguments)
        str(error)
    except Exception:  # noqa: BLE001  # not every constructor accepts the error's own args
        return None
    return error if isinstance(error, Exception) else None
