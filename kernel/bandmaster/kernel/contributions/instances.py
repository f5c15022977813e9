"""Tell whether an object is of a declared type. Only a certain difference counts."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from typing import Annotated, Any, Union, get_origin

# PEP 484: where the first type is declared, type checkers accept the others as well.
_PROMOTED: dict[type, tuple[type, ...]] = {float: (int,), complex: (float, int), bytes: (bytearray, memoryview)}


def may_be(value: object, kind: Any) -> bool:
    """Whether an object may be of a type: true unless the object certainly isn't.

    Of a generic type the origin is compared, of a ``NewType`` the type beneath. Any object but None may fit a protocol.
    An object that computes its attributes, such as a proxy or a mock, may stand for any other.
    """
    kind = _reduce(kind)
    if not isinstance(kind, type) or hasattr(type(value), "__getattr__"):
        return True
    if _is_structural(kind):
        return value is not None or not _has_public_member(kind)
    try:
        return isinstance(value, (kind, *_PROMOTED.get(kind, ())))
    except Exception:  # noqa: BLE001  # a metaclass may raise anything
        return True


def _reduce(kind: Any) -> Any:
    """The class of which an object of a declared type is an instance; anything else if there is no such class."""
    while True:
        origin = get_origin(kind)
        if hasattr(kind, "__supertype__"):
            kind = kind.__supertype__
        elif origin is Annotated:
            kind = kind.__origin__
        elif origin in (Union, types.UnionType):
            return None
        elif origin is not None:
            kind = origin
        elif isinstance(kind, type) and "[" in kind.__name__:
            kind = kind.__base__  # pydantic makes a class Page[int], although Page(...) makes an instance of Page
        else:
            return kind


def _is_structural(kind: type) -> bool:
    """Whether objects are of the type by their members: protocols, and the abstract classes that work like one."""
    is_protocol: bool | None = getattr(kind, "_is_protocol", None)  # False for a class that derives from a protocol
    return (
        bool(is_protocol)
        or (is_protocol is None and "__subclasshook__" in vars(kind))
        or kind.__module__ in (typing.__name__, collections.abc.__name__)
        or typing.is_typeddict(kind)
    )


def _has_public_member(kind: type) -> bool:
    return any(
        not name.startswith("_")
        for base in kind.__mro__
        if getattr(base, "_is_protocol", False)
        for name in (*vars(base), *inspect.get_annotations(base))
    )
