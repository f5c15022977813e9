"""What a callable asks for and what it provides, read from its signature once."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

from bandmaster.kernel.keys import Key, type_name


class Kind(Enum):
    """Where the value of a parameter comes from."""

    RESOURCE = "resource"
    SETTINGS = "settings"
    CONTEXT = "context"


@dataclass(frozen=True, slots=True)
class Need:
    """One parameter that the kernel fills."""

    parameter: str
    key: Key
    kind: Kind
    optional: bool
    """Whether ``None`` or a default will do where nothing provides the type."""
    has_default: bool = False

    def __str__(self) -> str:
        return f"{self.parameter}: {self.key}"


class SignatureError(ValueError):
    """A signature that can't be read as a declaration; the message says which parameter, and what to write."""


_MANAGERS = (AsyncIterator, AsyncGenerator, AsyncIterable, AbstractAsyncContextManager)
_SKIPPED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def is_settings(kind: Any) -> bool:
    """Whether a type is read from the environment: a pydantic-settings model."""
    # Not imported here: it costs more than the whole kernel, and a class can't derive from what isn't loaded.
    module = sys.modules.get("pydantic_settings")
    return module is not None and isinstance(kind, type) and issubclass(kind, module.BaseSettings)


def read_needs(function: Callable[..., Any], *, given: Collection[str] = (), context: type | None = None) -> list[Need]:
    """The parameters that the kernel has to fill, those in ``given`` left out.

    Raises:
        SignatureError: a parameter has no annotation, or one that says nothing.
    """
    parameters = [
        parameter
        for parameter in _parameters(function)
        if parameter.name not in given and parameter.kind not in _SKIPPED
    ]
    required = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    hints = _hints(function, tolerant=not required) if parameters else {}
    needs = []
    for parameter in parameters:
        has_default = parameter.default is not parameter.empty
        if parameter.name not in hints:
            if has_default:
                continue
            raise SignatureError(f"parameter {parameter.name!r} has no type; write one, or give it a default")
        need = _need(parameter.name, hints[parameter.name], has_default, context)
        if need is None:
            continue
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise SignatureError(
                f"parameter {parameter.name!r} is positional-only; the kernel passes arguments by name"
            )
        needs.append(need)
    return needs


def read_provides(function: Callable[..., Any]) -> list[Key]:
    """The type of the value that the context manager of ``function`` yields; nothing for ``None`` or no annotation.

    Raises:
        SignatureError: the return annotation isn't one of an async generator or an async context manager.
    """
    if isinstance(function, type):
        return _entered(function)
    returned = _hints(function, tolerant=False).get("return")
    if returned is None or returned is type(None):
        return []
    origin = get_origin(returned) or returned
    if isinstance(origin, type) and origin in _MANAGERS:
        arguments = get_args(returned)
        return _provided(arguments[0]) if arguments else []
    if isinstance(origin, type) and hasattr(origin, "__aenter__"):
        return _entered(origin)
    raise SignatureError(
        f"it returns {type_name(returned)}; write AsyncIterator[T] for an async generator with one yield, or "
        "AbstractAsyncContextManager[T]"
    )


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError as error:
        raise SignatureError(f"its signature can't be read: {error}") from error


def _hints(function: Callable[..., Any], *, tolerant: bool) -> dict[str, Any]:
    function = _function_behind(function)
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        if tolerant:
            return {}
        raise SignatureError(
            f"an annotation can't be resolved: {error}. Import the name at run time, not under TYPE_CHECKING, and "
            "define it at module level"
        ) from error
    except TypeError as error:
        raise SignatureError(f"an annotation can't be resolved: {error}") from error


def _function_behind(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, type):
        return function.__init__  # type: ignore[misc]  # its own, whatever a subclass makes of it
    function = inspect.unwrap(function)
    if inspect.isroutine(function):
        return function
    return type(function).__call__


def _need(name: str, annotation: Any, has_default: bool, context: type | None) -> Need | None:
    annotation, nullable = _without_none(annotation)
    key = Key.of(annotation)
    inner, nullable_inside = _without_none(key.type)
    key, nullable = Key(inner, key.name), nullable or nullable_inside
    optional = has_default or nullable
    if key.type is Any or key.type is object or get_origin(key.type) in (Union, types.UnionType):
        if has_default:
            return None
        raise SignatureError(f"parameter {name!r} is a {type_name(key.type)}, which says nothing of what it needs")
    if context is not None and key.type is context:
        return Need(name, key, Kind.CONTEXT, optional, has_default)
    kind = Kind.SETTINGS if is_settings(key.type) else Kind.RESOURCE
    return Need(name, key, kind, optional, has_default)


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        if len(members) == 1 and len(get_args(annotation)) == 2:
            return members[0], True
    return annotation, False


def _entered(manager: type[Any]) -> list[Key]:
    enter = getattr(manager, "__aenter__", None)
    if enter is None:
        raise SignatureError(f"{type_name(manager)} is no async context manager: it has no __aenter__")
    value = _hints(enter, tolerant=False).get("return")
    if value is Self or getattr(value, "__name__", None) == "Self":
        return [Key(manager)]
    return _provided(value)


def _provided(annotation: Any) -> list[Key]:
    if annotation is None or annotation is type(None) or annotation is Any:
        return []
    key = Key.of(annotation)
    if get_origin(key.type) in (Union, types.UnionType):
        raise SignatureError(f"it provides {type_name(key.type)}; a component provides one type, always")
    return [key]
