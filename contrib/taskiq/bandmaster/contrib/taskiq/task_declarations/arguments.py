"""What a task takes: checked where it is sent, made where it runs. Pure."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation
from pydantic_core import PydanticSerializationError, from_json, to_json
from taskiq_dependencies.dependency import Dependency

from bandmaster.kernel import PermanentError

_EMPTY = inspect.Parameter.empty
_SHOWN = 3


class InvalidArgumentsError(PermanentError):
    """A message has other arguments than its task takes. Its text shows none of them."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """The parameters of a task that travel in its messages."""

    task: str
    signature: inspect.Signature
    """Without what is given where it runs."""
    adapters: Mapping[str, TypeAdapter[Any]]
    """For those parameters whose type says something."""
    named: frozenset[str] = frozenset()
    """Parameters that must be passed by name: before them stands one that is given."""
    problems: tuple[str, ...] = ()
    """What is wrong with the declaration."""
    returned: Any = None
    """The type that a result is made of again; none where the declaration says none."""

    def sent(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments as JSON says them.

        Raises:
            TypeError: they aren't what the task takes, or JSON can't say them; the text names the parameter.
        """
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"task {self.task!r}: {error}; it takes {self.signature}") from None
        return (
            [self._said(value, f"argument {number}") for number, value in enumerate(args, 1)],
            {name: self._said(value, name) for name, value in kwargs.items()},
        )

    def made(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments as the function takes them.

        Raises:
            InvalidArgumentsError: they aren't what it takes.
        """
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidArgumentsError(f"{error}; it takes {self.signature}") from None
        wrong = []
        for name, value in bound.arguments.items():
            adapter = self.adapters.get(name)
            if adapter is None:
                continue
            try:
                bound.arguments[name] = self._made(adapter, self.signature.parameters[name].kind, value)
            except ValidationError as error:
                wrong += [_told(name, detail) for detail in error.errors(include_url=False, include_input=False)]
        if wrong:
            more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
            raise InvalidArgumentsError("; ".join(wrong[:_SHOWN]) + more)
        by_name = {name: bound.arguments.pop(name) for name in self.named if name in bound.arguments}
        return bound.args, {**bound.kwargs, **by_name}

    def _said(self, value: Any, label: str) -> Any:
        if value is None or type(value) in (str, int, bool):
            return value
        try:
            # By way of JSON: the shorter way leaves NaN and infinities, which become null where the message is made.
            return from_json(to_json(value, inf_nan_mode="strings"))
        except (PydanticSerializationError, ValueError, RecursionError) as error:
            kind = type(value).__name__
            raise TypeError(
                f"task {self.task!r}: {label} is a {kind}, which JSON can't say: {error}. Send what it is found by, such as "
                "an id"
            ) from None

    @staticmethod
    def _made(adapter: TypeAdapter[Any], kind: Any, value: Any) -> Any:
        if kind is inspect.Parameter.VAR_POSITIONAL:
            return tuple(adapter.validate_python(each) for each in value)
        if kind is inspect.Parameter.VAR_KEYWORD:
            return {name: adapter.validate_python(each) for name, each in value.items()}
        return adapter.validate_python(value)


def arguments_of(task: str, function: Callable[..., Any]) -> Arguments:
    """What a function takes. Parameters that TaskIQ gives where it runs are left out."""
    signature = inspect.signature(function)
    hints, problems = _hints(function)
    kept, adapters, named, given = [], {}, set(), ""
    for name, parameter in signature.parameters.items():
        hint = hints.get(name, _EMPTY)
        if is_given(parameter.default, hint):
            given = name
            if parameter.kind is parameter.POSITIONAL_ONLY:
                problems.append(f"the parameter {name!r} is given by name, but stands before '/'")
            continue
        kept.append(parameter)
        if given and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            named.add(name)
        if given and parameter.kind is parameter.VAR_POSITIONAL:
            problems.append(f"'*{name}' stands behind {given!r}, which is given; let {given!r} stand behind '*{name}'")
        if hint is _EMPTY or hint is Any:
            continue
        try:
            adapters[name] = TypeAdapter(hint)
        except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation, TypeError) as error:
            problems.append(
                f"the parameter {name!r} is a {_named(hint)}, which no message can bring ({str(error).splitlines()[0]}); "
                "what is to be given where the task runs has the default TaskiqDepends()"
            )
    plain = signature.replace(parameters=kept, return_annotation=inspect.Signature.empty)
    return Arguments(task, plain, adapters, frozenset(named), tuple(problems), hints.get("return"))


def is_given(default: Any, hint: Any) -> bool:
    """Whether a parameter is given where the task runs."""
    marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return any(isinstance(mark, Dependency) for mark in (default, *marks))


def _hints(function: Callable[..., Any]) -> tuple[dict[str, Any], list[str]]:
    target = function if inspect.isroutine(function) else getattr(type(function), "__call__", function)  # noqa: B004
    try:
        return typing.get_type_hints(inspect.unwrap(target), include_extras=True), []
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        return {}, [f"the types of its parameters can't be read: {error}; import them at run time, too"]


def _told(name: str, detail: Any) -> str:
    place = ".".join(map(str, (name, *detail["loc"])))
    # What a validator of the application's own says may quote the value.
    said = "a validator refused it" if detail["type"] in ("value_error", "assertion_error") else detail["msg"]
    return f"{place}: {said}"


def _named(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint))
