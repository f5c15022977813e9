"""Copies of factories and of functions of settings with other settings types, and other names of the provided types."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, TypeVar

from bandmaster.kernel.contributions.keys import Named
from bandmaster.kernel.contributions.signatures import Kind, parameters, read_needs, read_provides

T = TypeVar("T")


def rename_factory(
    factory: Callable[..., AbstractAsyncContextManager[Any]], name: str, settings: type[Any] | None
) -> Callable[..., AbstractAsyncContextManager[Any]]:
    """A copy of a factory that provides its type under a name, and reads ``settings`` in place of their base class.

    Raises:
        SignatureError: the factory's signature can't be read.
        ValueError: no parameter takes the settings.
    """
    swapped = _replace_settings(factory, settings)
    if settings is not None and swapped == parameters(factory):
        raise ValueError(f"settings: no parameter has a type that {settings.__name__} derives from")
    provided: Any = next((Annotated[key.type, Named(name)] for key in read_provides(factory)), None)
    return _copy(factory, inspect.Signature(swapped, return_annotation=AbstractAsyncContextManager[provided]))


def rename_function(function: Any, settings: type[Any] | None) -> Any:
    """A copy of a function that takes ``settings`` in place of their base class; anything else is returned as given."""
    if settings is None or not callable(function):
        return function
    return _copy(function, inspect.Signature(_replace_settings(function, settings)))


def _replace_settings(function: Callable[..., Any], settings: type[Any] | None) -> list[inspect.Parameter]:
    """The parameters of a function, those that take the settings with another annotation."""
    # A budget's one parameter needs no annotation.
    bare = [one.name for one in parameters(function) if one.annotation is one.empty]
    replaced = {
        need.parameter
        for need in read_needs(function, given=bare)
        if settings is not None and need.kind is Kind.SETTINGS and issubclass(settings, need.key.type)
    }
    return [one.replace(annotation=settings) if one.name in replaced else one for one in parameters(function)]


def _copy(function: Callable[..., Any], signature: inspect.Signature) -> Callable[..., Any]:
    def call(*arguments: Any, **keywords: Any) -> Any:
        return function(*arguments, **keywords)

    return stand_in(call, function, signature)


def stand_in(call: Callable[..., T], function: Callable[..., Any], signature: inspect.Signature) -> Callable[..., T]:
    """Give ``call``, which stands in for a function, the function's name and the signature that the kernel reads."""
    # __wrapped__ leads to the function, in whose module annotations that are text are resolved.
    functools.update_wrapper(call, function, updated=())
    call.__signature__ = signature  # type: ignore[attr-defined]
    return call
