"""The arguments of a task: checked and encoded as JSON by the sender, validated and converted by the worker. Pure."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation
from pydantic_core import PydanticSerializationError, from_json, to_json
from taskiq_dependencies.dependency import Dependency

from bandmaster.contrib.taskiq.errors import InvalidArgumentsError
from bandmaster.contrib.taskiq.validation_errors import render_argument_errors

_EMPTY = inspect.Parameter.empty
_MOST_PROBLEMS = 3


@dataclass(frozen=True, slots=True)
class Arguments:
    """The parameters of a task that are sent in messages."""

    task: str
    signature: inspect.Signature
    """Without the parameters that the worker provides."""
    adapters: Mapping[str, TypeAdapter[Any]]
    """The converters of parameters that have a type."""
    keyword_only: frozenset[str] = frozenset()
    """Parameters that must be passed by keyword, since the worker provides a parameter before them."""
    problems: tuple[str, ...] = ()
    """Faults of the declaration."""
    returned: Any = None
    """The type to which a result is converted; None if the declaration has none."""

    def encode(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments as values of JSON.

        Raises:
            TypeError: they don't fit the parameters, or JSON can't express one; the text names the parameter.
        """
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"task {self.task!r}: {error}; it takes {self.signature}") from None
        return (
            [self._encode_value(value, f"argument {number}") for number, value in enumerate(args, 1)],
            {name: self._encode_value(value, name) for name, value in kwargs.items()},
        )

    def decode(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments for the function, converted to the parameters' types.

        Raises:
            InvalidArgumentsError: they don't fit the parameters.
        """
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidArgumentsError(f"{error}; it takes {self.signature}") from None
        problems: list[str] = []
        for name, value in bound.arguments.items():
            adapter = self.adapters.get(name)
            if adapter is None:
                continue
            try:
                bound.arguments[name] = _convert(adapter, self.signature.parameters[name].kind, value)
            except ValidationError as error:
                problems += render_argument_errors(error, partial(_render_location, name))
        if problems:
            more = f" and {len(problems) - _MOST_PROBLEMS} more" if len(problems) > _MOST_PROBLEMS else ""
            raise InvalidArgumentsError("; ".join(problems[:_MOST_PROBLEMS]) + more)
        by_keyword = {name: bound.arguments.pop(name) for name in self.keyword_only if name in bound.arguments}
        return bound.args, {**bound.kwargs, **by_keyword}

    def _encode_value(self, value: Any, label: str) -> Any:
        if value is None or type(value) in (str, int, bool):
            return value
        try:
            # By way of JSON text. pydantic's shorter way keeps NaN and infinity, which TaskIQ's formatter turns into
            # null.
            return from_json(to_json(value, inf_nan_mode="strings"))
        except (PydanticSerializationError, ValueError, RecursionError) as error:
            kind = type(value).__name__
            raise TypeError(
                f"task {self.task!r}: {label} is a {kind}, which JSON can't express: {error}. Send a value by which "
                "the task can find it, such as an id"
            ) from None


def read_arguments(task: str, function: Callable[..., Any]) -> Arguments:
    """The parameters of a function, except those that the worker provides."""
    signature = inspect.signature(function)
    hints, problems = _read_hints(function)
    kept, adapters, keyword_only, provided = [], {}, set(), ""
    for name, parameter in signature.parameters.items():
        hint = hints.get(name, _EMPTY)
        if is_provided(parameter.default, hint):
            provided = name
            if parameter.kind is parameter.POSITIONAL_ONLY:
                problems.append(f"the parameter {name!r} is provided by keyword, but stands before '/'")
            continue
        kept.append(parameter)
        if provided and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            keyword_only.add(name)
        if provided and parameter.kind is parameter.VAR_POSITIONAL:
            problems.append(
                f"'*{name}' stands behind {provided!r}, which the worker provides; let {provided!r} stand behind "
                f"'*{name}'"
            )
        if hint is _EMPTY or hint is Any:
            continue
        try:
            adapters[name] = TypeAdapter(hint)
        except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation, TypeError) as error:
            problems.append(
                f"the parameter {name!r} is a {getattr(hint, '__name__', str(hint))}, which no message can contain "
                f"({str(error).splitlines()[0]}); a parameter that the worker provides has the default TaskiqDepends()"
            )
    plain = signature.replace(parameters=kept, return_annotation=inspect.Signature.empty)
    return Arguments(task, plain, adapters, frozenset(keyword_only), tuple(problems), hints.get("return"))


def is_provided(default: Any, hint: Any) -> bool:
    """Whether the worker provides a parameter."""
    marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return any(isinstance(mark, Dependency) for mark in (default, *marks))


def _read_hints(function: Callable[..., Any]) -> tuple[dict[str, Any], list[str]]:
    target = function if inspect.isroutine(function) else getattr(type(function), "__call__", function)  # noqa: B004
    try:
        return typing.get_type_hints(inspect.unwrap(target), include_extras=True), []
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        return {}, [f"the types of its parameters can't be read: {error}; import them at run time, too"]


def _convert(adapter: TypeAdapter[Any], kind: Any, value: Any) -> Any:
    if kind is inspect.Parameter.VAR_POSITIONAL:
        return tuple(adapter.validate_python(each) for each in value)
    if kind is inspect.Parameter.VAR_KEYWORD:
        return {name: adapter.validate_python(each) for name, each in value.items()}
    return adapter.validate_python(value)


def _render_location(name: str, location: tuple[Any, ...]) -> str:
    return ".".join(map(str, (name, *location)))
