"""Keys: the type of a resource, and a name if several resources have that type."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Named:
    """The name of one of several resources of a type: ``Annotated[Database, Named("replica")]``."""

    name: str

    def __post_init__(self) -> None:
        check_name(self.name, "name")


class Key(NamedTuple):
    """The type of a resource, and the name that `Named` gives."""

    type: Any
    name: str | None = None

    def __str__(self) -> str:
        text = type_name(self.type)
        return f"{text} named {self.name!r}" if self.name else text

    @property
    def module(self) -> str:
        """The module that defines the type."""
        return getattr(self.type, "__module__", None) or ""

    @classmethod
    def of(cls, annotation: Any) -> Key:
        """The key of an annotation, or of a pair ``(type, name)``.

        Raises:
            ValueError: the annotation is another kind of tuple.
        """
        if isinstance(annotation, cls):
            return annotation
        if isinstance(annotation, tuple):
            if not is_pair(annotation):
                raise ValueError(f"expected a type or a pair (type, name), got {annotation!r}")
            return cls(*annotation)
        if get_origin(annotation) is Annotated:
            kind, *marks = get_args(annotation)
            names = [mark.name for mark in marks if isinstance(mark, Named)]
            return cls(kind, names[-1] if names else None)
        # ``typing.Sequence[T]`` and ``collections.abc.Sequence[T]`` mean the same, and aren't equal.
        collection = None if isinstance(annotation, type) else find_collection(annotation)
        return cls(annotation) if collection is None else collection.key


class Collected(NamedTuple):
    """Every provider of a type: ``Sequence[T]`` has their objects in plan order, ``Mapping[str, T]`` by part name."""

    kind: Literal["sequence", "mapping"]
    member: Any
    """The type that each of them provides."""

    @property
    def key(self) -> Key:
        """The key of the collection, whether the annotation is from ``typing`` or from ``collections.abc``."""
        member: Any = self.member
        return Key(Sequence[member] if self.kind == "sequence" else Mapping[str, member])

    def gather(self, members: Iterable[tuple[str, Any]]) -> Sequence[Any] | Mapping[str, Any]:
        """The collection of these objects, which come in order and with the names of their parts."""
        if self.kind == "sequence":
            return tuple(value for _, value in members)
        return MappingProxyType(dict(members))


def find_collection(kind: Any) -> Collected | None:
    """The collection that a type asks for; None for every type but ``Sequence[T]`` and ``Mapping[str, T]``.

    Lists, tuples and dicts are types that a component may provide, and mean no collection.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Sequence:
        return Collected("sequence", arguments[0])
    if origin is Mapping and arguments[0] is str:
        return Collected("mapping", arguments[1])
    return None


def is_pair(value: Any) -> bool:
    """Whether a value is a pair ``(type, name)``, and not a tuple of types."""
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], str | None)


def is_too_wide(kind: Any) -> bool:
    """Whether a type can't be asked for: ``object`` and ``Any``, a union, or a plain value."""
    return (
        any(kind is wide for wide in (None, type(None), Any, object))
        or isinstance(kind, TypeVar | str | bytes | int | float)
        or get_origin(kind) in (Union, types.UnionType)
    )


def check_name(name: object, label: str) -> None:
    """Refuse a name that can't be written in a variable or on a command line.

    Raises:
        ValueError: the name has other characters; the message begins with ``label``.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{label}: expected letters, digits, '_', '-' and '.', a letter or '_' first, got {name!r}")


def type_name(kind: Any) -> str:
    """A type as code writes it, without the module: ``Repository[User]``."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is None or kind is type(None):
        return "None"
    if kind is Ellipsis:
        return "..."
    if origin in (Union, types.UnionType):
        return " | ".join(map(type_name, arguments))
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if origin is Annotated:
        return type_name(arguments[0])
    if arguments:
        inside = ", ".join(
            f"[{', '.join(map(type_name, part))}]" if isinstance(part, list) else type_name(part) for part in arguments
        )
        return f"{_read_bare_name(origin)}[{inside}]"
    return _read_bare_name(kind)


def _read_bare_name(kind: Any) -> str:
    name = getattr(kind, "__qualname__", None) or getattr(kind, "__name__", None)
    return name.rpartition("<locals>.")[2] if name else str(kind).replace("typing.", "")
