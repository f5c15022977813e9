"""Find the functions and objects that the code of a lifespan, or of an app, names."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import FunctionType, MethodType
from typing import Any

from bandmaster.kernel.hosting.frameworks import list_variables, walk_lifespan

_MOST_HOPS = 3
"""The longest chain of attributes that is followed: ``state.clients.broker``."""


def list_functions(lifespan: Any) -> Iterator[tuple[FunctionType, Any]]:
    """The functions of which a lifespan consists; a method comes with its object, any other with None."""
    methods: list[Any] = []
    for item in walk_lifespan(lifespan):
        if type(item) is MethodType and type(item.__func__) is FunctionType:
            methods.append(item.__func__)
            yield item.__func__, item.__self__
            inner = inspect.unwrap(item.__func__)
            if inner is not item.__func__:
                methods.append(inner)
                yield inner, item.__self__
        elif type(item) is FunctionType and not any(item is method for method in methods):
            yield item, None


def list_named_objects(function: FunctionType, owner: Any = None) -> list[Any]:
    """The objects that a function names: closed-over variables, globals, and attributes of these."""
    names = function.__code__.co_names
    found = [*list_variables(function).values()]
    found += [function.__globals__[name] for name in names if name in function.__globals__]
    newest = found if owner is None else [*found, owner]
    for _ in range(_MOST_HOPS):
        known = [read_attributes(item) for item in newest if type(item) is not FunctionType]
        newest = [values[name] for values in known for name in names if name in values]
        found = [*found, *newest]
    return found if owner is None else [*found, owner]


def read_attributes(item: Any) -> dict[str, Any]:
    """The attributes of an object, without calling a property, which may have effects."""
    try:
        return dict(object.__getattribute__(item, "__dict__"))
    except Exception:  # noqa: BLE001  # an object without attributes, or a proxy of one that isn't there
        return {}
