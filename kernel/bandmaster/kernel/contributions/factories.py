"""Make context managers of decorated functions, and read the names and docstrings of functions and classes."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, cast

from bandmaster.kernel.contributions.checks import check_callable
from bandmaster.kernel.contributions.yields import find_second_yield

_WANTED = "an async generator function (async def with one yield) or return an async context manager"


def as_context_manager(function: Any, label: str) -> Callable[..., AbstractAsyncContextManager[Any]]:
    """A callable that makes an async context manager.

    An async generator function becomes a manager. Any other callable has to return a manager; the plan reads the
    callable's annotation.

    Raises:
        ValueError: the callable can't return one, or every run yields twice; the message begins with ``label``.
    """
    check_callable(function, label)
    if isinstance(function, type):
        if not (hasattr(function, "__aenter__") and hasattr(function, "__aexit__")):
            raise ValueError(f"{label}: the class {read_name(function)} has no __aenter__ and __aexit__")
        return function
    inner = unwrap(function)
    # A call runs the function itself, or the __call__ of an object.
    called: Any = inner if inspect.isroutine(inner) else type(inner).__call__
    is_managed = _is_managed(called)
    generated = called.__wrapped__ if is_managed else called
    if is_managed and called.__code__.co_qualname.startswith(contextmanager.__name__):
        raise ValueError(f"{label}: {read_name(function)} is a sync context manager; it must be {_WANTED}")
    if inspect.isgeneratorfunction(generated):
        raise ValueError(f"{label}: {read_name(function)} isn't async; it must be {_WANTED}")
    if inspect.iscoroutinefunction(generated):
        raise ValueError(f"{label}: {read_name(function)} has no yield; it must be {_WANTED}")
    if inspect.isasyncgenfunction(generated):
        _check_yields(function, generated, label)
    if inspect.isasyncgenfunction(called):
        return asynccontextmanager(function)
    return cast("Callable[..., AbstractAsyncContextManager[Any]]", function)


def _is_managed(function: Any) -> bool:
    """Whether a function is one that contextlib's ``asynccontextmanager`` or ``contextmanager`` has made."""
    code = getattr(function, "__code__", None)
    return code is not None and code.co_filename == contextlib.__file__ and hasattr(function, "__wrapped__")


def _check_yields(function: Any, generated: Any, label: str) -> None:
    code = getattr(unwrap(generated), "__code__", None)
    found = find_second_yield(code) if code else None
    if found is not None:
        first, second = found
        raise ValueError(
            f"{label}: {read_name(function)} yields in line {first}, and always again in line {second}. A component "
            "has started at its yield, and stops with the code after it: it must have one yield on each path"
        )


def check_return(function: Any, label: str) -> None:
    """Refuse a plain function that nothing shows to return an async context manager.

    Raises:
        ValueError: the function has no return annotation, or returns None; the message begins with ``label``.
    """
    inner = unwrap(function)
    # `asynccontextmanager` leaves __wrapped__; a lambda can't have an annotation.
    if not inspect.isfunction(inner) or inspect.isasyncgenfunction(inner) or hasattr(inner, "__wrapped__"):
        return
    if inner.__name__ != "<lambda>" and inner.__annotations__.get("return") in (None, "None"):
        raise ValueError(
            f"{label}: {read_name(function)} is a plain function; it must be {_WANTED}, and say so: "
            "-> AbstractAsyncContextManager[T]"
        )


def unwrap(function: Any) -> Any:
    """The function inside of partials, static methods and class methods."""
    while True:
        if isinstance(function, functools.partial | functools.partialmethod):
            function = function.func
        elif isinstance(function, staticmethod | classmethod):
            function = function.__func__
        else:
            return function


def read_name(defined: Any) -> str:
    """The name of a function or a class; for any other object, the name of the class."""
    inner = unwrap(defined)
    return getattr(inner, "__name__", type(inner).__name__)


def read_summary(defined: Any) -> str:
    """The first line of a docstring."""
    defined = unwrap(defined)
    if isinstance(defined, type) and defined.__doc__ is None:
        return ""  # a base class' docstring is about the base class
    return (inspect.getdoc(defined) or "").partition("\n")[0]


def read_path(defined: Any) -> str:
    """Module and name of a function or a class, or of the class of an object: ``shop.parts:database``."""
    defined = unwrap(defined)
    name: str = getattr(defined, "__qualname__", type(defined).__qualname__)
    module = getattr(defined, "__module__", None)
    return f"{module}:{name}" if module else name
